"""`cancel`: before a task has begun, while it waits for others, and while it runs."""

import concurrent.futures
import os

import pytest

import distpool
from distpool.context import cpu_count_for_pools

from . import functions
from .functions import LIMIT_S, wait_until

pytestmark = pytest.mark.usefixtures("own_program")


@pytest.fixture
def gate(tmp_path):
    return tmp_path / "gate"


def test_one_that_waits_does_not_run_and_those_that_need_it_fail_with_it(gate, lines):
    slow = functions.wait_for.remote(str(gate))
    waiting = functions.note.remote(lines.path, "run", slow)
    needs_it = functions.identity.remote(waiting)
    distpool.cancel(waiting)
    assert waiting.cancelled()
    with pytest.raises(distpool.TaskCancelled, match="note was cancelled"):
        distpool.get(waiting)
    with pytest.raises(concurrent.futures.CancelledError) as caught:
        distpool.get(needs_it)
    assert caught.value.__notes__ == ["identity was not run, as it needed the value of note, which failed so"]
    gate.touch()
    distpool.get([slow, functions.identity.remote(1)])
    assert lines() == []


def test_those_that_were_sent_and_have_not_begun_do_not_run(gate, lines):
    slow = [functions.wait_for.remote(str(gate)) for _ in range(8)]
    refs = [functions.note.remote(lines.path, number) for number in range(20)]
    for ref in refs[::2]:
        distpool.cancel(ref)
    gate.touch()
    distpool.get([*slow, *refs[1::2]])
    assert sorted(map(int, lines())) == list(range(1, 20, 2))


def test_one_that_runs_is_interrupted_and_no_other(lines):
    first = functions.run_until_interrupted.remote(lines.path)
    others = [functions.note.remote(lines.path, number) for number in range(20)]
    wait_until(lambda: "begun" in lines())
    distpool.cancel(first)
    with pytest.raises(distpool.TaskCancelled):
        distpool.get(first)
    assert distpool.get(others) == list(range(20))
    wait_until(lambda: "interrupted" in lines())


def test_one_that_takes_its_interrupt_and_goes_on_is_not_interrupted_again(lines):
    @distpool.remote
    def clean_up(path):
        import time

        try:
            functions.note_line(path, "begun")
            time.sleep(LIMIT_S)
        except KeyboardInterrupt:
            time.sleep(0.5)  # longer than the time after which one that was not heard is sent again
            functions.note_line(path, "clean")

    ref = clean_up.remote(lines.path)
    wait_until(lambda: "begun" in lines())
    distpool.cancel(ref)
    wait_until(lambda: "clean" in lines())
    assert distpool.get(functions.identity.remote(1)) == 1


def test_a_time_limit_interrupts_the_worker_of_an_earlier_one_too(lines):
    @distpool.remote(num_cpus=cpu_count_for_pools())  # one worker
    def stay(path):
        try:
            functions.note_line(path, f"begun by {os.getpid()}")
            functions.nap.__wrapped__(LIMIT_S)
        except KeyboardInterrupt:
            functions.note_line(path, "interrupted")
            raise

    ref = stay.remote(lines.path)
    wait_until(lambda: len(lines()) == 1)
    distpool.cancel(ref)
    wait_until(lambda: len(lines()) == 2)
    with pytest.raises(distpool.CallTimeout):
        distpool.get(stay.options(timeout=0.5).remote(lines.path))
    wait_until(lambda: len(lines()) == 4)
    assert lines() == lines()[:2] * 2, "one worker"


def test_by_force_its_worker_ends(lines):
    @distpool.remote
    def ignore_interrupts(path):
        while True:
            try:
                functions.run_until_interrupted.__wrapped__(path)
            except KeyboardInterrupt:
                continue

    ref = ignore_interrupts.remote(lines.path)
    wait_until(lambda: "begun" in lines())
    distpool.cancel(ref, force=True)
    with pytest.raises(distpool.TaskCancelled):
        distpool.get(ref)
    assert distpool.get([functions.identity.remote(number) for number in range(8)]) == list(range(8))


def test_one_that_was_lost_does_not_run_again(lines):
    ref = functions.run_until_interrupted.options(retries=3).remote(lines.path)
    wait_until(lambda: "begun" in lines())
    distpool.cancel(ref, force=True)
    assert distpool.get([functions.identity.remote(number) for number in range(8)]) == list(range(8))
    assert lines() == ["begun"]


def test_one_that_has_ended_is_left_as_it_is():
    ref = functions.identity.remote(1)
    assert distpool.get(ref) == 1
    distpool.cancel(ref)
    distpool.cancel(ref, force=True)
    assert distpool.get(ref) == 1


def test_many_at_once_in_any_state(gate):
    refs = [functions.wait_for.remote(str(gate)) for _ in range(200)]
    for ref in refs:
        distpool.cancel(ref)
    assert all(isinstance(ref.exception(), distpool.TaskCancelled) for ref in refs)
    assert distpool.get(functions.add.remote(1, 2)) == 3
