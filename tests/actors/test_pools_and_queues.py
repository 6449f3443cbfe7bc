"""`ActorPool` and `Queue`."""

import asyncio
import queue

import pytest

from distpool.actors import actor_class
from distpool.errors import ActorDied
from distpool.util import ActorPool, list_named_actors
from distpool.util.queue import Empty, Full, Queue
from tests.actors.classes import Counter

LIMIT_S = 20
Counters = actor_class(Counter)


def add(actor, value):
    return actor.add.remote(value)


def wait(actor, path):
    return actor.wait_for.remote(str(path))


def fail(actor, value):
    return actor.fail.remote()


@pytest.fixture
def pool():
    return ActorPool([Counters.remote(100), Counters.remote(100)])


def test_map_gives_results_in_order_and_each_actor_has_one_call_at_a_time(pool):
    assert sum(pool.map(add, [0] * 10)) == 1000
    assert not pool.has_next()
    assert pool.has_free()


def test_map_unordered_gives_all_results(pool):
    assert sorted(pool.map_unordered(add, [0] * 5)) == [100] * 5


def test_get_next_is_in_order_and_get_next_unordered_is_not(pool, tmp_path):
    pool.submit(wait, tmp_path / "gate")
    pool.submit(add, 1)
    pool.submit(add, 1)

    assert pool.get_next_unordered(LIMIT_S) == 101
    with pytest.raises(TimeoutError, match="call 0"):
        pool.get_next(timeout=0)
    (tmp_path / "gate").touch()
    assert [pool.get_next(LIMIT_S), pool.get_next(LIMIT_S)] == [101, 102]
    with pytest.raises(StopIteration):
        pool.get_next()
    with pytest.raises(StopIteration):
        pool.get_next_unordered()


def test_what_a_call_raises_is_raised_and_its_actor_goes_on(pool):
    pool.submit(fail, 0)
    with pytest.raises(KeyError, match="not there"):
        pool.get_next(LIMIT_S)
    assert list(pool.map(add, [0, 0, 0])) == [100] * 3


def test_actors_come_and_go():
    pool = ActorPool([])
    assert pool.pop_idle() is None
    pool.submit(add, 1)
    assert not pool.has_free()
    with pytest.raises(ValueError, match="no actor"):
        pool.get_next()
    actor = Counters.remote()
    pool.push(actor)
    with pytest.raises(ValueError, match="already"):
        pool.push(actor)
    assert pool.get_next(LIMIT_S) == 1
    assert pool.pop_idle() == actor
    with pytest.raises(TypeError, match="must give the ref of a call"):
        ActorPool([actor]).submit(lambda actor, value: value, 3)


def test_a_queue_is_first_in_first_out_and_says_when_it_is_full_or_empty():
    items = Queue(2)
    assert items.empty()
    items.put("a")
    items.put_nowait("b")
    assert items.full()
    assert len(items) == items.qsize() == 2
    with pytest.raises(Full, match="it has 2 items"):
        items.put_nowait("c")
    with pytest.raises(queue.Full):
        items.put("c", timeout=0.01)
    assert [items.get(), items.get_nowait()] == ["a", "b"]
    with pytest.raises(Empty):
        items.get_nowait()
    with pytest.raises(queue.Empty):
        items.get(timeout=0.01)
    items.shutdown()
    with pytest.raises(ActorDied):
        items.put(1)


def test_batches_are_put_and_taken_whole():
    items = Queue(3)
    items.put_nowait_batch([1, 2])
    with pytest.raises(Full, match="room for 1 items, and not for 2"):
        items.put_nowait_batch([3, 4])
    with pytest.raises(Empty, match="2 items, and not 3"):
        items.get_nowait_batch(3)
    assert items.get_nowait_batch(2) == [1, 2]
    items.shutdown(force=True)


def test_who_waits_for_an_item_gets_the_next():
    items = Queue()

    async def both():
        taking = asyncio.ensure_future(items.get_async())
        await items.put_async("item")
        return await taking

    assert asyncio.run(both()) == "item"


def test_a_queue_can_be_named():
    items = Queue(actor_options={"name": "jobs"})
    assert list_named_actors() == ["jobs"]
    items.shutdown(force=True)


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: Queue("2"), TypeError, "maxsize is '2'"),
        (lambda: Queue(actor_options={"nam": "x"}), TypeError, "did you mean 'name'"),
        (lambda: Queue().get(timeout="soon"), TypeError, "timeout is 'soon'"),
        (lambda: Queue().put(1, timeout=-1), ValueError, "timeout is -1"),
        (lambda: Queue().get_nowait_batch(-1), ValueError, "num_items is -1"),
        (lambda: Queue().put_nowait_batch(3), TypeError, "items is 3"),
        (lambda: ActorPool(3), TypeError, "actors is 3, a int; it must be a list of handles of actors"),
        (lambda: ActorPool([add]), TypeError, "an actor of the pool is <function add .* it must be a handle of one"),
        (lambda: ActorPool([]).push(Counters), TypeError, "an actor of the pool is <ActorClass Counter>, a ActorClass"),
    ],
)
def test_bad_arguments_are_named(make, kind, text):
    with pytest.raises(kind, match=text):
        make()
