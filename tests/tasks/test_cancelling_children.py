"""`cancel` and the tasks that a task has started."""

import time
from pathlib import Path

import pytest

import distpool
from distpool.runtime.current_call import NUMBER

from . import functions
from .functions import LIMIT_S, add, note_line, wait_until

pytestmark = pytest.mark.usefixtures("own_program")


@distpool.remote(num_cpus=0)
def run_until_interrupted(path):
    functions.run_until_interrupted.__wrapped__(path)


@distpool.remote(num_cpus=0)
def wait_for(path):
    return functions.wait_for.__wrapped__(path)


@distpool.remote
def start(path, *children):
    """Starts what it is told to, notes that, and waits for all."""
    refs = [function.remote(*args) for function, *args in children]
    note_line(path, "started")
    return distpool.get(refs)


@distpool.remote
def leave(function, *args):
    """Starts it, and does not wait."""
    return [function.remote(*args)]


@pytest.fixture
def gate(tmp_path):
    return tmp_path / "gate"


def count_of(lines, text):
    return lines().count(text)


def test_what_it_has_started_and_what_that_has_started_are_interrupted_and_no_other(lines, gate):
    child = (run_until_interrupted, lines.path)
    first = start.remote(lines.path, child, (start, lines.path, child))
    other = start.remote(lines.path, (wait_for, str(gate)))
    wait_until(lambda: (count_of(lines, "begun"), count_of(lines, "started")) == (2, 3))
    distpool.cancel(first)
    wait_until(lambda: count_of(lines, "interrupted") == 2)
    with pytest.raises(distpool.TaskCancelled, match="start was cancelled"):
        distpool.get(first)
    gate.touch()
    assert distpool.get(other) == [str(gate)]


def test_what_ran_in_the_process_that_workers_are_forked_from_does_not_count(lines):
    before, NUMBER[0] = NUMBER[0], 20
    try:
        parent = start.remote(lines.path, (run_until_interrupted, lines.path))
        wait_until(lambda: "begun" in lines())
    finally:
        NUMBER[0] = before
    distpool.cancel(parent)
    wait_until(lambda: "interrupted" in lines())


def test_what_it_has_started_is_left_if_that_is_said(lines, gate):
    parent = start.remote(lines.path, (wait_for, str(gate)), (distpool.remote(note_line), lines.path, "noted"))
    wait_until(lambda: "started" in lines())
    distpool.cancel(parent, recursive=False)
    gate.touch()
    wait_until(lambda: "noted" in lines())
    assert parent.cancelled()


def test_those_that_wait_do_not_begin(lines, gate):
    slow = wait_for.remote(str(gate))
    parent = start.remote(lines.path, (distpool.remote(note_line), lines.path, [slow]), (add, slow))

    @distpool.remote
    def later(path, value):
        note_line(path, value)

    waiting = start.remote(lines.path, (later.options(num_cpus=distpool.cpu_count()), lines.path, "run"))
    wait_until(lambda: count_of(lines, "started") == 2)
    for ref in (parent, waiting):
        distpool.cancel(ref)
    gate.touch()
    assert distpool.get([slow, add.remote(1)]) == [str(gate), 1]
    assert "run" not in lines()


def test_what_it_starts_when_it_is_cancelled_is_cancelled_too(lines):
    @distpool.remote
    def start_late(path):
        try:
            note_line(path, "begun")
            time.sleep(LIMIT_S)
        except KeyboardInterrupt:
            ref = distpool.remote(note_line).options(num_returns=2).remote(path, "run")[1]
            note_line(path, repr(type(ref.exception()).__name__))

    ref = start_late.remote(lines.path)
    wait_until(lambda: "begun" in lines())
    distpool.cancel(ref)
    wait_until(lambda: len(lines()) == 2)
    assert lines() == ["begun", "'TaskCancelled'"]


def test_by_force_the_workers_of_what_it_has_started_end(lines):
    @distpool.remote
    def ignore_interrupts(path):
        while True:
            try:
                note_line(path, "begun")
                time.sleep(LIMIT_S)
            except KeyboardInterrupt:
                note_line(path, "ignored")

    parent = start.remote(lines.path, (ignore_interrupts, lines.path))
    wait_until(lambda: "begun" in lines())
    distpool.cancel(parent, force=True)
    everything = add.options(num_cpus=distpool.cpu_count())
    assert distpool.get(everything.remote(1, 1)) == 2
    assert "ignored" not in lines()


def test_what_a_task_that_has_ended_has_started_is_left(gate):
    parent = leave.remote(wait_for, str(gate))
    (child,) = distpool.get(parent)
    distpool.cancel(parent)
    gate.touch()
    assert distpool.get(child) == str(gate)


def test_each_child_is_of_the_call_that_has_started_it(lines, gate):
    """Many calls of one worker, each of which starts one."""
    whole = distpool.cpu_count()
    before = [leave.options(num_cpus=whole).remote(wait_for, str(gate)) for _ in range(20)]
    waits = start.options(num_cpus=whole)
    parent = waits.remote(lines.path, (run_until_interrupted, lines.path))
    wait_until(lambda: "begun" in lines())
    distpool.cancel(parent)
    wait_until(lambda: "interrupted" in lines())
    gate.touch()
    assert distpool.get([child for (child,) in distpool.get(before)]) == [str(gate)] * 20


def test_a_task_cancels_what_it_has_started_with_all_below(lines):
    @distpool.remote
    def start_and_cancel(path):
        ref = start.remote(path, (run_until_interrupted, path))
        wait_until(lambda: "begun" in Path(path).read_text())
        distpool.cancel(ref)
        return type(ref.exception()).__name__

    lines_path = lines.path
    note_line(lines_path, "here")
    assert distpool.get(start_and_cancel.remote(lines_path)) == "TaskCancelled"
    wait_until(lambda: "interrupted" in lines())


def test_what_a_generator_has_started_ends_with_its_handle(lines):
    @distpool.remote
    def starting(path):
        ref = run_until_interrupted.remote(path)
        yield "started"
        distpool.get(ref)

    items = starting.remote(lines.path)
    assert distpool.get(next(items)) == "started"
    wait_until(lambda: "begun" in lines())
    del items
    wait_until(lambda: "interrupted" in lines())


@pytest.mark.parametrize("options", [{}, {"max_concurrency": 2}])
@pytest.mark.parametrize("is_async", [False, True])
def test_what_a_call_of_an_actor_has_started_is_cancelled_with_it(lines, gate, options, is_async):
    class Plain:
        def start(self, function, *args):
            return distpool.get(function.remote(*args))

    class OnLoop:
        async def start(self, function, *args):
            return await function.remote(*args)

    actor = distpool.remote(OnLoop if is_async else Plain).options(num_cpus=0, **options).remote()
    first = actor.start.remote(run_until_interrupted, lines.path)
    second = actor.start.remote(wait_for, str(gate))
    wait_until(lambda: "begun" in lines())
    distpool.cancel(first)
    wait_until(lambda: "interrupted" in lines())
    gate.touch()
    assert distpool.get(second) == str(gate)


@pytest.mark.parametrize("options", [{"force": 1}, {"recursive": None}])
def test_options_that_make_no_sense_are_errors(options):
    ((name, value),) = options.items()
    with pytest.raises(TypeError, match=rf"{name} is {value!r}, a .*; it must be True or False"):
        distpool.cancel(add.remote(1), **options)
    with pytest.raises(TypeError, match="cancel takes the ref of a task, or a generator, not 1, a int"):
        distpool.cancel(1)
