"""What workers do with actors of their program: they start them, find them by name, and end them."""

import gc

import psutil
import pytest

import distpool
from distpool.errors import ActorDied
from distpool.util import list_named_actors
from distpool.util.queue import Queue
from tests.actors.classes import Broken, Counter, Keeper, is_elsewhere
from tests.runtime.programs import until

LIMIT_S = 20
Counters = distpool.remote(Counter)


@distpool.remote
def run(function, *args):
    """In a worker, what a test wants."""
    return function(*args)


def in_worker(function, *args):
    return run.remote(function, *args).result(LIMIT_S)


@distpool.remote
class Decorated:
    """Found by its name where its module is imported."""

    def name(self):
        return type(self).__name__


def start_and_call(start, amount):
    counter = Counters.remote(start)
    return distpool.get([counter.add.remote(amount) for _ in range(3)]), counter.pid.remote().result()


def test_a_task_starts_an_actor_which_ends_with_its_last_handle():
    values, pid = in_worker(start_and_call, 10, 2)

    assert values == [12, 14, 16]
    assert until(lambda: not psutil.pid_exists(pid), LIMIT_S)


def test_what_travels_with_a_class_arrives():
    class Local:
        def __init__(self, ref, *, add):
            self.value = ref + add

        def get(self):
            return self.value

    def start():
        ref = distpool.remote(len).remote("abc")
        actor = distpool.remote(Local).remote(ref, add=4)
        return actor.get.remote().result(), Decorated.remote().name.remote().result()

    assert in_worker(start) == (7, "Decorated")


def test_the_handle_of_an_actor_that_a_task_has_started_is_good_in_the_program_and_in_others():
    counter = in_worker(lambda: Counters.remote(1))

    assert counter.add.remote(2).result(LIMIT_S) == 3
    assert in_worker(lambda: counter.add.remote().result()) == 4


def test_an_actor_is_kept_by_an_actor_that_has_started_it():
    class Owner:
        async def start(self):
            self.counter = Counters.remote(5)
            return await self.counter.pid.remote()

        async def add(self):
            return await self.counter.add.remote()

        def drop(self):
            del self.counter

    owner = distpool.remote(Owner).remote()
    pid = owner.start.remote().result(LIMIT_S)
    gc.collect()
    assert [owner.add.remote().result(LIMIT_S) for _ in range(3)] == [6, 7, 8]
    owner.drop.remote().result(LIMIT_S)
    assert until(lambda: not psutil.pid_exists(pid), LIMIT_S)


def test_actors_that_a_task_uses_one_after_another_take_the_room_of_one():
    def start_some(count):
        pids = []
        for _ in range(count):
            counter = Counters.options(resources={"seat": 1}).remote()
            pids.append(counter.pid.remote().result())
            del counter
        return pids

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTPOOL_RESOURCES", '{"seat": 1}')
        assert len(set(in_worker(start_some, 4))) == 4
        # Also behind calls of the same worker whose results nobody has read.
        alone = run.options(num_cpus=distpool.cluster_resources()["CPU"])
        several = distpool.get([alone.remote(start_some, 2) for _ in range(4)], timeout=LIMIT_S)
        assert len({pid for pids in several for pid in pids}) == 8


def test_names_are_those_of_the_whole_program():
    first = Counters.options(name="first").remote(1)

    def use():
        assert distpool.get_actor("first").add.remote().result() == 2
        with pytest.raises(ValueError, match=r"'firs'.*did you mean 'first'"):
            distpool.get_actor("firs")
        with pytest.raises(ValueError, match="the name 'first' is taken"):
            Counters.options(name="first").remote()
        same = Counters.options(name="first", get_if_exists=True).remote(100)
        assert same == distpool.get_actor("first")
        Counters.options(name="second", namespace="tests", lifetime="detached").remote(7)
        return same.add.remote().result(), list_named_actors(), len(list_named_actors(all_namespaces=True))

    assert in_worker(use) == (3, ["first"], 2)
    assert distpool.get_actor("second", "tests").add.remote().result(LIMIT_S) == 8
    assert distpool.get_actor("first") == first
    distpool.kill(distpool.get_actor("second", "tests"))


def test_a_worker_kills_an_actor_and_its_name_is_free():
    counter = Counters.options(name="mortal").remote()
    pid = counter.pid.remote().result(LIMIT_S)

    def kill():
        distpool.kill(distpool.get_actor("mortal"))
        with pytest.raises(ValueError, match="mortal"):
            distpool.get_actor("mortal")

    in_worker(kill)
    with pytest.raises(ActorDied, match="killed"):
        counter.add.remote().result(LIMIT_S)
    assert until(lambda: not psutil.pid_exists(pid), LIMIT_S)


def test_a_worker_has_an_actor_started_again():
    counter = Counters.options(max_restarts=1).remote()
    pid = counter.pid.remote().result(LIMIT_S)
    in_worker(lambda: distpool.kill(counter, no_restart=False))

    assert until(lambda: is_elsewhere(counter, pid), LIMIT_S)


def test_a_named_actor_is_there_once_however_many_ask_for_it():
    def add():
        return Counters.options(name="shared", get_if_exists=True, lifetime="detached").remote().add.remote().result()

    assert sorted(distpool.get([run.remote(add) for _ in range(6)], timeout=LIMIT_S)) == [1, 2, 3, 4, 5, 6]


def test_failures_are_told_where_the_actor_was_started():
    def fail():
        with pytest.raises(TypeError, match="unexpected"):
            Counters.remote(unexpected=1)
        with pytest.raises(TypeError, match="cannot be pickled"):
            Counters.remote(iter(x for x in ()))
        with pytest.raises(ActorDied, match="constructor raised") as told:
            distpool.remote(Broken).remote("raises").run.remote().result()
        return repr(told.value.__cause__)

    assert "no such weights" in in_worker(fail)


def test_pools_start_and_find_actors_too():
    counter = Counters.options(name="of all").remote()
    with distpool.Pool(2) as pool:
        assert len(set(pool.map(_add_to_all, range(4)))) == 4
        assert pool.apply(start_and_call, (0, 1))[0] == [1, 2, 3]
    assert counter.add.remote(0).result(LIMIT_S) == 4


def _add_to_all(_):
    return distpool.get_actor("of all").add.remote().result()


def test_a_queue_that_a_task_has_made_is_everybodys():
    queue = in_worker(Queue, 2)
    in_worker(lambda: [queue.put(number) for number in range(2)])

    assert [queue.get(timeout=LIMIT_S) for _ in range(2)] == [0, 1]


def test_a_pool_within_a_worker_has_that_workers_actors_and_finds_no_others():
    actor = Counters.options(name="of the program").remote()

    def nested():
        with distpool.Pool(1) as pool:
            assert pool.apply(start_and_call, (0, 1))[0] == [1, 2, 3]
            return pool.apply(distpool.get_actor, ("of the program",))

    with pytest.raises(ValueError, match="no actor that lives has the name 'of the program'") as caught:
        in_worker(nested)
    assert "has made the pool of the worker that asks" in caught.value.__notes__[0]
    distpool.kill(actor)


def test_handles_that_a_call_drops_and_gets_again_are_good():
    keeper = distpool.remote(Keeper).remote(Counters.options(name="again").remote())

    def use(keeper):
        for _ in range(20):
            (counter,) = keeper.pass_on.remote().result()
            assert counter.add.remote().result() > 0
            assert counter == distpool.get_actor("again")
            del counter
        return distpool.get_actor("again")

    assert in_worker(use, keeper).add.remote(0).result(LIMIT_S) == 20
    assert in_worker(use, keeper).add.remote(0).result(LIMIT_S) == 40
