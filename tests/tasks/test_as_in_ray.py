"""Programs of Ray's documentation, on distpool, and on Ray itself where it is installed.

The names that differ are in `Library`: whoever ports a program changes those and nothing else.
"""

import asyncio
import importlib
import importlib.util
import os
import time

import pytest

import distpool
import distpool.util
import distpool.util.queue

LIMIT_S = 60
HAS_RAY = importlib.util.find_spec("ray") is not None


class Library:
    """One of the two, under the name that ported programs use."""

    def __init__(self, name):
        self.name = name
        self.is_ray = name == "ray"
        self._module = importlib.import_module(name)
        util = importlib.import_module("ray.util" if self.is_ray else "distpool.util")
        self.ActorPool = util.ActorPool
        self.Queue = importlib.import_module(f"{name}.util.queue").Queue
        self.placement_group = util.placement_group if self.is_ray else distpool.placement_group
        self.remove_placement_group = util.remove_placement_group if self.is_ray else distpool.remove_placement_group
        if self.is_ray:
            errors = importlib.import_module("ray.exceptions")
            self.TaskCancelled, self.ActorDied = errors.TaskCancelledError, errors.RayActorError
            self.WorkerDied = errors.WorkerCrashedError
        else:
            self.TaskCancelled, self.ActorDied, self.WorkerDied = (
                distpool.TaskCancelled,
                distpool.ActorDied,
                distpool.WorkerDied,
            )

    def __getattr__(self, name):
        return getattr(self._module, name)

    def __reduce__(self):
        return Library, (self.name,)

    def retries(self, count):
        """Of a task: what Ray calls max_retries."""
        return {"max_retries" if self.is_ray else "retries": count}

    def in_group(self, group, bundle):
        """Of a task or an actor: it runs in that bundle of a placement group."""
        if not self.is_ray:
            return {"placement_group": group, "bundle": bundle}
        strategies = importlib.import_module("ray.util.scheduling_strategies")
        strategy = strategies.PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=bundle)
        return {"scheduling_strategy": strategy}


@pytest.fixture(
    params=[
        "distpool",
        pytest.param("ray", marks=[pytest.mark.leaves_some, pytest.mark.skipif(not HAS_RAY, reason="no Ray here")]),
    ],
)
def ray(request):
    library = Library(request.param)
    library.init(num_cpus=4) if library.is_ray else library.init()
    yield library
    library.shutdown()


# Tasks ----------------------------------------------------------------------------------------------------------------


def test_a_first_task(ray):
    @ray.remote
    def square(x):
        return x * x

    assert ray.get([square.remote(i) for i in range(4)]) == [0, 1, 4, 9]


def test_passing_an_object(ray):
    @ray.remote
    def my_function():
        return 1

    @ray.remote
    def function_with_an_argument(value):
        return value + 1

    first = my_function.remote()
    assert ray.get(first) == 1
    assert ray.get(function_with_an_argument.remote(first)) == 2


def test_a_ref_in_a_list_stays_a_ref(ray):
    @ray.remote
    def echo_and_get(values):
        return [type(value) is int for value in values]

    assert ray.get(echo_and_get.remote([1, ray.put(2)])) == [True, False]


def test_request_queue_for_partial_results(ray):
    @ray.remote
    def nap(seconds):
        time.sleep(seconds)
        return seconds

    refs = [nap.remote(seconds) for seconds in (0.0, 0.0, 60.0)]
    ready, remaining = ray.wait(refs, num_returns=2, timeout=LIMIT_S)
    assert (ready, remaining) == (refs[:2], refs[2:])
    ray.cancel(refs[2], force=True)


def test_multiple_returns(ray):
    @ray.remote(num_returns=3)
    def return_multiple():
        return 0, 1, 2

    one, two, three = return_multiple.remote()
    assert ray.get([one, two, three]) == [0, 1, 2]


def test_cancelling(ray):
    @ray.remote
    def blocking_operation():
        time.sleep(60)

    ref = blocking_operation.remote()
    ray.cancel(ref)
    with pytest.raises(ray.TaskCancelled):
        ray.get(ref)


def test_overriding_options(ray):
    @ray.remote(num_cpus=1)
    def three_values():
        return 1, 2, 3

    assert len(three_values.options(num_returns=3, num_cpus=1, name="three").remote()) == 3


def test_a_function_cannot_be_called_as_it_is(ray):
    @ray.remote
    def square(x):
        return x * x

    with pytest.raises(TypeError, match=r"remote"):
        square(2)


def test_an_error_travels_down_a_chain(ray):
    @ray.remote
    def fail():
        raise ValueError("no")

    @ray.remote
    def passed_on(value):
        return value

    with pytest.raises(ValueError, match="no"):
        ray.get(passed_on.remote(passed_on.remote(fail.remote())))


def test_a_timeout_of_get(ray):
    @ray.remote
    def long_running():
        time.sleep(60)

    ref = long_running.remote()
    with pytest.raises(TimeoutError):
        ray.get(ref, timeout=0.1)
    ray.cancel(ref, force=True)


def test_a_tree_of_sums(ray):
    @ray.remote
    def add(one, other):
        return one + other

    values = [ray.put(number) for number in range(16)]
    while len(values) > 1:
        values = [*values[2:], add.remote(values[0], values[1])]
    assert ray.get(values[0]) == 120


def test_nested_tasks(ray):
    @ray.remote
    def f():
        return 1

    @ray.remote
    def g():
        return [f.remote() for _ in range(4)]

    @ray.remote
    def h():
        return ray.get([f.remote() for _ in range(4)])

    assert ray.get(ray.get(g.remote())) == [1] * 4
    assert ray.get(h.remote()) == [1] * 4


def test_a_crash_is_retried(ray, tmp_path):
    @ray.remote(**ray.retries(1))
    def crash_once(path):
        try:
            os.mkdir(path)
        except FileExistsError:
            return "run again"
        os._exit(1)

    assert ray.get(crash_once.remote(str(tmp_path / "begun"))) == "run again"


def test_a_crash_that_is_not_retried(ray):
    @ray.remote(**ray.retries(0))
    def crash():
        os._exit(1)

    with pytest.raises(ray.WorkerDied):
        ray.get(crash.remote())


def test_retries_on_exceptions(ray, tmp_path):
    @ray.remote(**ray.retries(1), retry_exceptions=[OSError])
    def flaky(path):
        try:
            os.mkdir(path)
        except FileExistsError:
            return "run again"
        raise OSError("not yet")

    assert ray.get(flaky.remote(str(tmp_path / "begun"))) == "run again"


def test_a_dynamic_generator(ray):
    @ray.remote(num_returns="streaming")
    def split(count):
        for number in range(count):
            yield 2 * number

    assert [ray.get(ref) for ref in split.remote(5)] == [0, 2, 4, 6, 8]


def test_a_generator_that_fails(ray):
    @ray.remote(num_returns="streaming")
    def two_then_fail():
        yield 1
        yield 2
        raise ValueError("no more")

    generator = two_then_fail.remote()
    assert [ray.get(next(generator)), ray.get(next(generator))] == [1, 2]
    with pytest.raises(ValueError, match="no more"):
        ray.get(next(generator))
    with pytest.raises(StopIteration):
        next(generator)


def test_refs_in_asyncio(ray):
    @ray.remote
    def square(x):
        return x * x

    async def main():
        return await asyncio.gather(*[square.remote(number) for number in range(4)])

    assert asyncio.run(main()) == [0, 1, 4, 9]


def endless(seconds):
    """Something to go through until an exception ends that."""
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        yield


# Actors ---------------------------------------------------------------------------------------------------------------


def counter(ray, **options):
    class Counter:
        def __init__(self, start=0):
            self.value = start

        def increment(self):
            self.value += 1
            return self.value

        def crash(self):
            os._exit(1)

        def exit(self):
            ray.actor.exit_actor() if ray.is_ray else distpool.exit_actor()

        def fail(self):
            raise ValueError("no")

    return ray.remote(**options)(Counter) if options else ray.remote(Counter)


def test_a_counter(ray):
    counters = [counter(ray).remote(start) for start in (0, 10)]
    refs = [each.increment.remote() for each in counters for _ in range(3)]
    assert ray.get(refs) == [1, 2, 3, 11, 12, 13]


def test_an_error_in_a_method_leaves_the_actor(ray):
    actor = counter(ray).remote()
    with pytest.raises(ValueError, match="no"):
        ray.get(actor.fail.remote())
    assert ray.get(actor.increment.remote()) == 1


def test_handles_are_passed_to_tasks(ray):
    actor = counter(ray).remote()

    @ray.remote
    def increment(handle):
        return ray.get(handle.increment.remote())

    assert sorted(ray.get([increment.remote(actor) for _ in range(3)])) == [1, 2, 3]


def test_a_named_actor(ray):
    actor = counter(ray).options(name="counter").remote()
    assert ray.get(actor.increment.remote()) == 1
    assert ray.get(ray.get_actor("counter").increment.remote()) == 2
    with pytest.raises(ValueError, match="nobody"):
        ray.get_actor("nobody")
    with pytest.raises(ValueError, match="counter"):
        counter(ray).options(name="counter").remote()


def test_get_if_exists(ray):
    one = counter(ray).options(name="one", get_if_exists=True).remote()
    assert ray.get(one.increment.remote()) == 1
    same = counter(ray).options(name="one", get_if_exists=True).remote()
    assert ray.get(same.increment.remote()) == 2


def test_kill(ray):
    actor = counter(ray).remote()
    assert ray.get(actor.increment.remote()) == 1
    ray.kill(actor)
    with pytest.raises(ray.ActorDied):
        ray.get(actor.increment.remote())


@pytest.mark.parametrize("end", ["exit", "crash"])
def test_an_actor_that_ends_itself_or_crashes_is_not_restarted(ray, end):
    actor = counter(ray).remote()
    with pytest.raises(ray.ActorDied):
        ray.get(getattr(actor, end).remote())
    with pytest.raises(ray.ActorDied):
        ray.get(actor.increment.remote())


def test_a_restart_begins_anew(ray):
    actor = counter(ray, max_restarts=1, max_task_retries=1).remote(10)
    assert ray.get([actor.increment.remote() for _ in range(2)]) == [11, 12]
    ray.kill(actor, no_restart=False)
    assert ray.get(actor.increment.remote()) == 11


def test_an_error_in_a_constructor(ray):
    class Broken:
        def __init__(self):
            raise ValueError("no")

        def ping(self):
            return "pong"

    actor = ray.remote(Broken).remote()
    with pytest.raises(ray.ActorDied, match="no"):
        ray.get(actor.ping.remote())


def test_an_async_actor(ray):
    class Meeting:
        def __init__(self):
            self.arrived = asyncio.Event()

        async def wait(self):
            await self.arrived.wait()
            return "met"

        async def arrive(self):
            self.arrived.set()

    actor = ray.remote(Meeting).remote()
    waiting = actor.wait.remote()
    ray.get(actor.arrive.remote())
    assert ray.get(waiting) == "met"


def test_a_threaded_actor(ray):
    class Meeting:
        def __init__(self):
            self.arrived = False

        def wait(self):
            while not self.arrived:
                time.sleep(0.001)
            return "met"

        def arrive(self):
            self.arrived = True

    actor = ray.remote(Meeting).options(max_concurrency=2).remote()
    waiting = actor.wait.remote()
    ray.get(actor.arrive.remote())
    assert ray.get(waiting) == "met"


def test_concurrency_groups(ray):
    class Service:
        @ray.method(concurrency_group="io")
        async def read(self):
            return "read"

        @ray.method(concurrency_group="compute")
        async def compute(self):
            return "computed"

    actor = ray.remote(concurrency_groups={"io": 2, "compute": 4})(Service).remote()
    assert ray.get([actor.read.remote(), actor.compute.remote()]) == ["read", "computed"]
    assert ray.get(actor.read.options(concurrency_group="compute").remote()) == "read"


def test_a_generator_of_an_actor(ray):
    class Numbers:
        def count(self, stop):
            for number in range(stop):
                yield 2 * number

    actor = ray.remote(Numbers).remote()
    refs = actor.count.options(num_returns="streaming").remote(3)
    assert [ray.get(ref) for ref in refs] == [0, 2, 4]


# What is built on them ------------------------------------------------------------------------------------------------


def test_an_actor_pool(ray):
    class Doubler:
        def double(self, value):
            return 2 * value

    actor_class = ray.remote(Doubler)
    pool = ray.ActorPool([actor_class.remote(), actor_class.remote()])
    assert list(pool.map(lambda actor, value: actor.double.remote(value), [1, 2, 3, 4])) == [2, 4, 6, 8]
    assert sorted(pool.map_unordered(lambda actor, value: actor.double.remote(value), [1, 2, 3])) == [2, 4, 6]


def test_a_queue(ray):
    queue = ray.Queue(maxsize=100)

    @ray.remote
    def produce(queue, numbers):
        for number in numbers:
            queue.put(number)

    @ray.remote
    def consume(queue, count):
        return [queue.get(timeout=LIMIT_S) for _ in range(count)]

    consumed = consume.remote(queue, 10)
    ray.get([produce.remote(queue, range(5)), produce.remote(queue, range(5, 10))])
    assert sorted(ray.get(consumed)) == list(range(10))
    assert queue.empty()


def test_a_placement_group(ray):
    group = ray.placement_group([{"CPU": 1}, {"CPU": 1}], strategy="PACK")
    assert group.wait(LIMIT_S)

    @ray.remote
    def place():
        return "there"

    assert ray.get(place.options(**ray.in_group(group, 1)).remote()) == "there"
    actor = counter(ray, num_cpus=1).options(**ray.in_group(group, 0)).remote()
    assert ray.get(actor.increment.remote()) == 1
    ray.remove_placement_group(group)
    with pytest.raises(ray.ActorDied):
        list(map(ray.get, (actor.increment.remote() for _ in endless(LIMIT_S))))
