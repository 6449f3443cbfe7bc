"""Methods of actors that are generators: plain, on threads, and on an event loop."""

import asyncio
import os
import signal
import threading

import pytest

import distpool
from distpool.logic.actor_plan import ActorState
from tests.tasks.functions import LIMIT_S, note_line, wait_until


class Plain:
    def __init__(self, path=""):
        self.path = path
        self.begun = 0

    def items(self, number):
        self.begun += 1
        try:
            for item in range(number):
                note_line(self.path, item)
                yield item
        finally:
            note_line(self.path, "end")

    @distpool.method(generator_backpressure_num_objects=2)
    def pairs(self, number):
        for item in range(number):
            yield item, self.begun

    @distpool.method(num_returns="streaming")
    def reversed(self, values):
        return reversed(values)

    def fail_after(self, number):
        yield from range(number)
        raise KeyError("no more")

    def die_after(self, number):
        note_line(self.path, "run")
        with open(self.path) as file:
            is_first = len(file.readlines()) == 1
        for item in range(10):
            if is_first and item == number:
                os.kill(os.getpid(), signal.SIGKILL)
            yield item

    def exit_after(self, number):
        yield from range(number)
        distpool.exit_actor()

    def total(self, items):
        return sum(items)


class OnThreads:
    def __init__(self):
        self.barrier = threading.Barrier(2)

    def meet(self, number):
        """Each item waits for one of another call."""
        for item in range(number):
            self.barrier.wait(LIMIT_S)
            yield item


class OnLoop:
    def __init__(self):
        self.event = asyncio.Event()
        self.ended = []

    async def items(self, number):
        try:
            for item in range(number):
                await asyncio.sleep(0)
                yield item
        finally:
            self.ended.append("items")

    async def gated(self):
        yield "first"
        await self.event.wait()
        yield "second"
        raise KeyError("no more")

    def plain(self, number):
        yield from range(number)

    async def open(self):
        self.event.set()

    async def taken(self, other, number):
        return [await ref async for ref in other.items.remote(number)]

    async def which_ended(self):
        return self.ended


def started(cls, *args, **options):
    return (distpool.remote(**options)(cls) if options else distpool.remote(cls)).remote(*args)


def test_items_of_a_plain_actor_come_one_by_one_and_its_calls_stay_in_order(lines):
    actor = started(Plain, lines.path)
    first, second = actor.items.remote(50), actor.pairs.remote(3)
    after = actor.total.remote([1, 2])
    assert distpool.get(list(first)) == list(range(50))
    assert distpool.get(list(second)) == [(item, 1) for item in range(3)]
    assert distpool.get(after) == 3
    assert distpool.get(list(actor.reversed.remote([1, 2]))) == [2, 1]
    assert distpool.get(actor.items.options(num_returns="streaming").remote(1).completed()) == 1


def test_the_error_of_a_method_is_its_last_item():
    actor = started(Plain)
    *refs, last = actor.fail_after.remote(2)
    assert distpool.get(refs) == [0, 1]
    with pytest.raises(KeyError, match="no more"):
        distpool.get(last)


def test_one_that_nobody_wants_ends_when_it_waits_and_the_actor_goes_on(lines):
    actor = started(Plain, lines.path)
    for drop in (distpool.cancel, lambda items: None):
        items = actor.items.options(generator_backpressure_num_objects=3).remote(1000)
        assert distpool.get(next(items)) == 0
        drop(items)
        del items
        assert distpool.get(actor.total.remote([1])) == 1
    assert lines().count("end") == 2
    assert len(lines()) < 30


@pytest.mark.parametrize("retries", [0, 1])
def test_the_death_of_an_actor_ends_its_items_unless_the_call_may_run_again(lines, retries):
    actor = started(Plain, lines.path, max_restarts=1, max_task_retries=retries)
    refs = list(actor.die_after.remote(3))
    if retries:
        assert distpool.get(refs) == list(range(10))
        return
    assert distpool.get(refs[:-1]) == [0, 1, 2]
    with pytest.raises(distpool.ActorUnavailable):
        distpool.get(refs[-1])
    assert distpool.get(list(actor.pairs.remote(1))) == [(0, 0)]


def test_an_actor_that_exits_within_one_has_given_what_came_before():
    actor = started(Plain)
    *refs, last = actor.exit_after.remote(2)
    assert distpool.get(refs) == [0, 1]
    with pytest.raises(distpool.ActorDied, match="exit_actor"):
        distpool.get(last)
    wait_until(lambda: actor._life.state is ActorState.DEAD)


def test_generators_run_beside_each_other_on_threads():
    actor = started(OnThreads, max_concurrency=2)
    both = [actor.meet.remote(60) for _ in range(2)]
    taken = [distpool.get([one, other]) for one, other in zip(*both, strict=True)]
    assert taken == [[item, item] for item in range(60)]


def test_generators_run_beside_each_other_on_an_event_loop():
    actor = started(OnLoop)
    gated, many, plain = actor.gated.remote(), actor.items.remote(100), actor.plain.remote(100)
    assert distpool.get(next(gated)) == "first"
    assert distpool.get(list(many)) == distpool.get(list(plain)) == list(range(100))
    distpool.get(actor.open.remote())
    assert distpool.get(next(gated)) == "second"
    (failed,) = gated
    with pytest.raises(KeyError, match="no more"):
        distpool.get(failed)


def test_one_on_an_event_loop_that_nobody_wants_ends():
    actor = started(OnLoop)
    next(actor.items.remote(10**9))
    wait_until(lambda: distpool.get(actor.which_ended.remote()) == ["items"])


def test_actors_and_tasks_take_the_items_of_actors():
    plain, on_loop = started(Plain), started(OnLoop)

    @distpool.remote
    def taken(actor, number):
        return [distpool.get(ref) for ref in actor.pairs.remote(number)]

    assert distpool.get(taken.remote(plain, 40)) == [(item, 0) for item in range(40)]
    assert distpool.get(on_loop.taken.remote(started(OnLoop), 50)) == list(range(50))


def test_options_that_make_no_sense_are_errors():
    with pytest.raises(ValueError, match="generator_backpressure_num_objects is 3, but the call gives no items"):
        distpool.method(num_returns=2, generator_backpressure_num_objects=3)

    class Wrong:
        @distpool.method(generator_backpressure_num_objects=3)
        def no_generator(self):
            return 1

    with pytest.raises(ValueError, match=r"Wrong.no_generator: generator_backpressure_num_objects is 3, but the call"):
        distpool.remote(Wrong)
    with pytest.raises(TypeError, match="num_returns is 'stream'"):
        distpool.method(num_returns="stream")
