"""An actor's worker dies, at each point of its life; nothing is left of it, and each call ends once."""

import os
import signal

import pytest

from distpool.actors import actor_class
from distpool.errors import ActorDied, ActorUnavailable
from tests.actors.classes import Broken, BrokenOnce, Counter, Gate, is_elsewhere, wait_for
from tests.runtime.programs import until

LIMIT_S = 20
Counters = actor_class(Counter)


def test_an_error_in_the_constructor_reaches_every_call_with_its_traceback():
    broken = actor_class(Broken, max_restarts=3).remote("raises")
    calls = [broken.run.remote() for _ in range(3)]

    for call in calls:
        with pytest.raises(ActorDied, match="its constructor raised ValueError: no such weights") as caught:
            call.result(LIMIT_S)
        assert isinstance(caught.value.__cause__, ValueError)
        assert "no such weights" in str(caught.value.__cause__)
        assert "in __init__" in str(caught.value.__cause__.__cause__)
    with pytest.raises(ActorDied):
        broken.run.remote().result(LIMIT_S)


def test_a_constructor_that_exits_or_is_killed_says_so():
    with pytest.raises(ActorDied, match="its constructor called exit_actor"):
        actor_class(Broken).remote("exits").run.remote().result(LIMIT_S)
    with pytest.raises(ActorDied, match=r"SIGKILL.*in the constructor.*started again 2 times"):
        actor_class(Broken, max_restarts=2).remote("dies").run.remote().result(LIMIT_S)


def test_a_worker_that_dies_in_the_constructor_is_replaced(tmp_path):
    broken = actor_class(BrokenOnce, max_restarts=1).remote(str(tmp_path / "first"))

    assert broken.run.remote().result(LIMIT_S) == 1


def test_a_call_that_kills_its_worker_tells_how_and_when():
    counter = Counters.remote()
    pid = counter.pid.remote().result(LIMIT_S)
    dying, waiting = counter.die.remote(), counter.add.remote()

    for future in (dying, waiting):
        with pytest.raises(
            ActorDied, match=r"died at \d\d:\d\d:\d\d: worker process \d+ was killed by SIGKILL"
        ) as caught:
            future.result(LIMIT_S)
        assert (caught.value.pid, caught.value.exitcode) == (pid, -9)


def test_an_exit_code_is_told():
    with pytest.raises(ActorDied, match="exited with code 7") as caught:
        Counters.remote().exit_with.remote(7).result(LIMIT_S)
    assert caught.value.exitcode == 7


def test_with_restarts_the_lost_call_fails_and_those_after_it_run_on_a_new_instance():
    counter = Counters.options(max_restarts=2).remote(10)
    assert counter.add.remote().result(LIMIT_S) == 11
    dying, after = counter.die.remote(), counter.add.remote()

    with pytest.raises(ActorUnavailable, match=r"while it ran Counter\.die.*restart 1.*max_task_retries"):
        dying.result(LIMIT_S)
    assert after.result(LIMIT_S) == 11
    with pytest.raises(ActorUnavailable):
        counter.die.remote().result(LIMIT_S)
    with pytest.raises(ActorDied, match="started again 2 times, as often as max_restarts allows"):
        counter.die.remote().result(LIMIT_S)


def test_a_call_that_may_run_again_runs_again_before_those_after_it(tmp_path):
    counter = Counters.options(max_restarts=1, max_task_retries=1).remote()
    again, after = counter.die_once.remote(str(tmp_path / "first")), counter.add.remote()

    assert (again.result(LIMIT_S), after.result(LIMIT_S)) == (1, 2)


def test_retries_of_one_method(tmp_path):
    counter = Counters.options(max_restarts=1).remote()
    method = counter.die_once.options(max_task_retries=-1)

    assert method.remote(str(tmp_path / "first")).result(LIMIT_S) == 1


@pytest.mark.parametrize("when", ["idle", "in a call", "with a queue"])
def test_a_worker_that_is_killed_from_outside(when, tmp_path):
    counter = Counters.options(max_restarts=-1).remote()
    pid = counter.pid.remote().result(LIMIT_S)
    gate = tmp_path / "gate"
    running = None if when == "idle" else counter.wait_for.remote(str(gate))
    waiting = [counter.add.remote() for _ in range(20 if when == "with a queue" else 0)]
    if running is not None:
        wait_for(gate.with_suffix(".begun"))
    os.kill(pid, signal.SIGKILL)

    if running is not None:
        assert isinstance(running.exception(LIMIT_S), ActorUnavailable)
    assert [future.result(LIMIT_S) for future in waiting] == list(range(1, len(waiting) + 1))
    assert until(lambda: is_elsewhere(counter, pid), LIMIT_S)


def test_a_worker_that_dies_with_answers_in_its_ring_has_answered_them():
    counter = Counters.options(max_restarts=1).remote()
    answered = [counter.add.remote() for _ in range(100)]
    dying = counter.die.remote()

    assert [future.result(LIMIT_S) for future in answered] == list(range(1, 101))
    assert isinstance(dying.exception(LIMIT_S), ActorUnavailable)


def test_of_an_async_actor_all_that_had_begun_is_lost():
    gate = actor_class(Gate, max_restarts=1).remote()
    waiting = [gate.wait.remote() for _ in range(10)]
    assert until(lambda: gate.count.remote().result(LIMIT_S) == 10, LIMIT_S)
    dying = gate.die.remote()

    assert {type(future.exception(LIMIT_S)) for future in (*waiting, dying)} == {ActorUnavailable}
    assert gate.count.remote().result(LIMIT_S) == 0


def test_with_the_template_all_actors_of_the_program_die():
    first, second = Counters.remote(), Counters.options(max_restarts=5).remote()
    template = first.parent.remote().result(LIMIT_S)
    assert second.parent.remote().result(LIMIT_S) == template
    os.kill(template, signal.SIGKILL)

    for counter in (first, second):
        assert until(lambda counter=counter: isinstance(counter.add.remote().exception(LIMIT_S), ActorDied), LIMIT_S)
    # The next one gets another template.
    assert Counters.remote().add.remote().result(LIMIT_S) == 1
