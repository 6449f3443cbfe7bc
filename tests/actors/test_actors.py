"""What a program does with actors."""

import gc
import os

import numpy as np
import psutil
import pytest

import distpool
from distpool.actors import ActorHandle, actor_class, exit_actor, get_actor, kill, list_named_actors
from distpool.errors import ActorDied
from tests.actors.classes import Counter, Gate, Meeting, Plain, is_elsewhere
from tests.runtime.programs import until

LIMIT_S = 20
Counters = actor_class(Counter)


def test_an_actor_keeps_its_state_and_answers_in_order():
    counter = Counters.remote(5)

    assert [future.result(LIMIT_S) for future in [counter.add.remote(n) for n in range(100)]] == [
        5 + n * (n + 1) // 2 for n in range(100)
    ]


def test_each_actor_has_a_worker_of_its_own_and_all_have_one_template():
    actors = [Counters.remote() for _ in range(3)]

    assert len({actor.pid.remote().result(LIMIT_S) for actor in actors}) == 3
    assert len({actor.parent.remote().result(LIMIT_S) for actor in actors}) == 1


def test_a_method_that_raises_leaves_the_actor_as_it_is():
    counter = Counters.remote()

    with pytest.raises(KeyError, match="not there"):
        counter.fail.remote().result(LIMIT_S)
    assert counter.add.remote().result(LIMIT_S) == 1


def test_classes_and_arguments_that_only_exist_here_travel_by_value():
    offset = 40

    class Local:
        def __init__(self, function):
            self.function = function

        def run(self, x):
            return self.function(x) + offset

    assert actor_class(Local).remote(lambda x: x + 1).run.remote(1).result(LIMIT_S) == 42


def test_large_arguments_and_results_and_refs():
    counter = Counters.remote()
    array = np.ones(100_000)

    assert counter.total_of.remote(array).result(LIMIT_S) == 100_000
    assert counter.total_of.remote(distpool.put(array)).result(LIMIT_S) == 100_000
    assert len(counter.large.remote(1_000_000).result(LIMIT_S)) == 1_000_000


def test_an_actor_ends_with_its_last_handle_but_after_its_calls(tmp_path):
    counter = Counters.remote()
    worker = psutil.Process(counter.pid.remote().result(LIMIT_S))
    method = counter.wait_for
    waiting = method.remote(str(tmp_path / "gate"))
    del counter
    gc.collect()
    assert worker.is_running()

    del method
    last = waiting
    (tmp_path / "gate").touch()

    assert last.result(LIMIT_S) == 1
    assert until(lambda: not worker.is_running(), LIMIT_S)


def test_a_killed_actor_fails_all_calls_and_says_that_it_was_killed(tmp_path):
    counter = Counters.remote()
    worker = psutil.Process(counter.pid.remote().result(LIMIT_S))
    running = counter.wait_for.remote(str(tmp_path / "never"))
    waiting = counter.add.remote()

    kill(counter)

    for future in (running, waiting, counter.add.remote()):
        with pytest.raises(ActorDied, match=r"killed by distpool\.kill") as caught:
            future.result(LIMIT_S)
        assert caught.value.actor == "Counter"
        assert caught.value.died_at > 0
    assert until(lambda: not worker.is_running(), LIMIT_S)
    kill(counter)


def test_a_killed_actor_is_started_again_where_only_its_worker_is_to_end():
    counter = Counters.options(max_restarts=1).remote(10)
    first = counter.pid.remote().result(LIMIT_S)

    kill(counter, no_restart=False)

    assert until(lambda: is_elsewhere(counter, first), LIMIT_S)
    assert counter.add.remote().result(LIMIT_S) == 11


def test_what_was_called_before_exit_actor_is_answered_and_the_rest_fails():
    counter = Counters.options(max_restarts=-1).remote()
    before, leaving, after = counter.add.remote(), counter.leave.remote(), counter.add.remote()

    assert before.result(LIMIT_S) == 1
    for future in (leaving, after, counter.add.remote()):
        with pytest.raises(ActorDied, match="exit_actor"):
            future.result(LIMIT_S)


def test_exit_actor_is_for_actors():
    with pytest.raises(TypeError, match="outside of an actor"):
        exit_actor()


def test_named_actors_are_found_for_as_long_as_they_have_a_handle():
    counter = Counters.options(name="first", namespace="tests").remote(1)
    assert get_actor("first", "tests") == counter
    assert list_named_actors() == []
    assert list_named_actors(all_namespaces=True) == [{"name": "first", "namespace": "tests"}]
    with pytest.raises(ValueError, match="'first' in namespace 'tests' is taken by <actor Counter 'first'"):
        Counters.options(name="first", namespace="tests").remote()
    same = Counters.options(name="first", namespace="tests", get_if_exists=True).remote(100)
    assert same.add.remote().result(LIMIT_S) == 2

    del counter, same
    gc.collect()
    with pytest.raises(ValueError, match="no actor that lives has the name 'first'"):
        get_actor("first", "tests")


def test_init_says_which_namespace_is_meant():
    distpool.shutdown()
    distpool.init(namespace="tests")
    counter = Counters.options(name="first").remote(1)
    assert get_actor("first") == get_actor("first", "tests") == counter
    assert list_named_actors() == ["first"]
    assert list_named_actors(all_namespaces=True) == [{"name": "first", "namespace": "tests"}]
    with pytest.raises(ValueError, match="no actor that lives has the name 'second' in namespace 'tests'"):
        get_actor("second")
    with pytest.raises(TypeError, match="namespace is 3, a int; it must be a str, or None"):
        get_actor("first", 3)


def test_a_name_is_free_again_when_its_actor_is_dead():
    counter = Counters.options(name="mortal", lifetime="detached").remote()
    with pytest.raises(ValueError, match="did you mean 'mortal'"):
        get_actor("mortall")
    kill(counter)
    with pytest.raises(ActorDied):
        counter.add.remote().result(LIMIT_S)

    with pytest.raises(ValueError, match="mortal"):
        get_actor("mortal")
    assert Counters.options(name="mortal").remote(5).add.remote().result(LIMIT_S) == 6


def test_a_detached_actor_lives_without_a_handle():
    Counters.options(name="lasting", lifetime="detached").remote(1).add.remote().result(LIMIT_S)
    gc.collect()

    assert get_actor("lasting").add.remote().result(LIMIT_S) == 3
    kill(get_actor("lasting"))


def test_calls_of_an_async_actor_run_beside_each_other():
    gate = actor_class(Gate).remote()
    waiting = [gate.wait.remote() for _ in range(50)]
    assert until(lambda: gate.count.remote().result(LIMIT_S) == 50, LIMIT_S)

    assert gate.open.remote().result(LIMIT_S) == 50
    assert [future.result(LIMIT_S) for future in waiting] == [50] * 50
    with pytest.raises(KeyError, match="not there"):
        gate.fail.remote().result(LIMIT_S)
    assert [len(gate.large.remote(n).result(LIMIT_S)) for n in (10, 20_000, 1_000_000)] == [10, 20_000, 1_000_000]


def test_an_async_actor_runs_no_more_calls_than_it_may():
    gate = actor_class(Gate, max_concurrency=2).remote()

    assert max(future.result(LIMIT_S) for future in [gate.peak.remote() for _ in range(20)]) == 2


def test_an_actor_that_is_to_lose_its_worker_loses_it_also_before_it_has_one(tmp_path):
    counter = Counters.remote()
    waiting = counter.wait_for.remote(str(tmp_path / "never"))
    kill(counter, no_restart=False)

    with pytest.raises(ActorDied, match="SIGKILL"):
        waiting.result(LIMIT_S)


def test_an_async_actor_that_exits_answers_what_has_ended():
    gate = actor_class(Gate).remote()
    assert gate.count.remote().result(LIMIT_S) == 0
    waiting = gate.wait.remote()
    leaving = gate.leave.remote()

    for future in (waiting, leaving):
        with pytest.raises(ActorDied, match="exit_actor"):
            future.result(LIMIT_S)


def test_calls_of_a_threaded_actor_run_beside_each_other_and_groups_have_threads_of_their_own():
    meeting = actor_class(Meeting, max_concurrency=3, concurrency_groups={"io": 1}).remote(3)

    assert len({future.result(LIMIT_S) for future in [meeting.meet.remote() for _ in range(3)]}) == 3
    waiting = [meeting.meet.remote() for _ in range(2)]
    assert "io" in meeting.ask.remote().result(LIMIT_S)
    assert "io" in meeting.meet.options(concurrency_group="io").remote().result(LIMIT_S)
    assert all(future.result(LIMIT_S) for future in waiting)
    results = [meeting.large.remote(15_000) for _ in range(60)]  # more than its ring can take
    assert {len(future.result(LIMIT_S)) for future in results} == {15_000}
    with pytest.raises(ActorDied, match="exit_actor"):
        meeting.leave.remote().result(LIMIT_S)


def test_a_plain_actor_runs_on_its_main_thread_and_has_no_groups():
    assert actor_class(Plain).remote().is_on_main_thread.remote().result(LIMIT_S)
    with pytest.raises(ValueError, match=r"concurrency_group of Meeting\.ask is 'io'.*it has none"):
        actor_class(Meeting)


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"max_restart": 1}, TypeError, "did you mean 'max_restarts'"),
        ({"max_restarts": -2}, ValueError, "max_restarts is -2"),
        ({"max_restarts": 1.0}, TypeError, "max_restarts is 1.0, a float"),
        ({"max_task_retries": True}, TypeError, "max_task_retries is True"),
        ({"max_concurrency": 0}, ValueError, "max_concurrency is 0"),
        ({"concurrency_groups": {"io": 0}}, ValueError, r"concurrency_groups\['io'\] is 0"),
        ({"concurrency_groups": ["io"]}, TypeError, "must be a dict"),
        ({"name": ""}, ValueError, "name is empty"),
        ({"name": 3}, TypeError, "name is 3, a int"),
        ({"lifetime": "forever"}, ValueError, "'detached' or 'non_detached'"),
        ({"get_if_exists": True}, ValueError, "has no name"),
        ({"namespace": "n"}, ValueError, "has no name"),
    ],
)
def test_bad_options_are_named_at_once(options, kind, text):
    with pytest.raises(kind, match=text):
        Counters.options(**options)


def test_mistakes_with_actors_are_named_at_once():
    with pytest.raises(TypeError, match=r"start one with Counter.remote"):
        Counters()
    with pytest.raises(TypeError, match=r"Counter.remote\(start=...\): too many positional"):
        Counters.remote(1, 2)
    with pytest.raises(TypeError, match="not of 3, a int"):
        actor_class(3)
    with pytest.raises(TypeError, match="kill takes the handle of an actor"):
        kill(3)
    counter = Counters.remote()
    with pytest.raises(TypeError, match=r"call add.remote"):
        counter.add()
    with pytest.raises(AttributeError, match="no method 'adds'; did you mean 'add'"):
        counter.adds  # noqa: B018
    with pytest.raises(AttributeError, match="cannot be set"):
        counter.value = 3
    with pytest.raises(TypeError, match="did you mean 'max_task_retries'"):
        counter.add.options(max_task_retry=1)
    assert isinstance(counter, ActorHandle)


def test_a_ref_as_an_argument_arrives_as_its_value_and_later_calls_wait_for_it(tmp_path):
    slow, counter = Counters.remote(10), Counters.remote()
    gate = tmp_path / "gate"
    late = counter.add.remote(slow.wait_for.remote(str(gate)))  # 11
    after = counter.add.remote(100)
    other = Counters.remote().add.remote(1)
    assert other.result(LIMIT_S) == 1
    assert not after.done()
    gate.touch()

    assert distpool.get([late, after], timeout=LIMIT_S) == [11, 111]


def test_a_constructor_waits_for_its_arguments():
    start = Counters.remote(1).add.remote()

    assert Counters.remote(start=start).add.remote().result(LIMIT_S) == 3


def test_a_call_whose_argument_failed_fails_and_those_after_it_run():
    counter = Counters.remote()
    failed = counter.add.remote(Counters.remote().fail.remote())
    after = counter.add.remote()

    with pytest.raises(KeyError, match="not there"):
        failed.result(LIMIT_S)
    assert after.result(LIMIT_S) == 1


def test_an_actor_whose_constructor_lacks_an_argument_is_dead():
    counter = Counters.remote(Counters.remote().fail.remote())

    with pytest.raises(ActorDied, match=r"its constructor needed the value of Counter\.fail, which has none"):
        counter.add.remote().result(LIMIT_S)


def test_cancelled_calls_are_not_begun(tmp_path):
    counter = Counters.remote()
    gate = tmp_path / "gate"
    running = counter.wait_for.remote(str(gate))
    waiting = [counter.add.remote() for _ in range(5)]
    for ref in waiting[2:4]:
        distpool.cancel(ref)
    gate.touch()

    assert running.result(LIMIT_S) == 1
    assert [ref.cancelled() for ref in waiting] == [False, False, True, True, False]
    assert waiting[4].result(LIMIT_S) == 4


def test_methods_with_several_values():
    counter = Counters.remote()
    first, second = counter.pair.remote(1)
    assert (first.result(LIMIT_S), second.result(LIMIT_S)) == (1, 2)
    assert counter.pair.options(num_returns=0).remote(1) is None
    gate = actor_class(Gate).remote()
    assert distpool.get(gate.both.remote(), timeout=LIMIT_S) == [0, 1]
    with pytest.raises(ValueError, match=r"num_returns=3 values, and returned 2"):
        gate.both.options(num_returns=3).remote()[0].result(LIMIT_S)


def test_remote_makes_actors_of_classes():
    @distpool.remote(max_restarts=1)
    class Local:
        def run(self):
            return 7

    assert distpool.remote(Counter).remote(6).add.remote().result(LIMIT_S) == 7
    assert Local.remote().run.remote().result(LIMIT_S) == 7


def test_a_child_of_the_program_has_no_actors():
    counter = Counters.options(name="parents").remote()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, repr(list_named_actors()).encode())
            counter.add.remote()
        except RuntimeError as error:
            os.write(writer, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as stream:
        assert stream.read() == "[]ForeignProcess"
    os.waitpid(pid, 0)
    assert counter.add.remote().result(LIMIT_S) == 1
