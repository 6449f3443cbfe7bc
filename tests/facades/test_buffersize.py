"""`imap` with `buffersize`: the input is read only as its results are taken."""

import gc
import itertools
import threading
import time

import pytest

import distpool

from . import tasks
from .comparison import LIMIT_S

pytestmark = pytest.mark.extension

METHODS = ["imap", "imap_unordered"]


class Input:
    """An endless input that knows how far ahead of its reader it was read. `asked`: how many results were asked for."""

    def __init__(self, length=None):
        self.read = 0
        self.asked = 0
        self.most_ahead = 0
        self.threads = set()
        self._changed = threading.Condition()
        self._length = length

    def __iter__(self):
        numbers = itertools.count() if self._length is None else range(self._length)
        for number in numbers:
            with self._changed:
                self.read = number + 1
                self.most_ahead = max(self.most_ahead, self.read - self.asked)
                self._changed.notify_all()
            self.threads.add(threading.current_thread())
            yield number

    def wait_until_read(self, count):
        with self._changed:
            assert self._changed.wait_for(lambda: self.read >= count, LIMIT_S), f"only {self.read} were read"

    def take(self, results, count):
        taken = []
        for _ in range(count):
            self.asked += 1
            taken.append(next(results))
        return taken

    def wait_for_its_thread(self):
        for thread in self.threads:
            thread.join(LIMIT_S)
            assert not thread.is_alive()


@pytest.fixture
def pool():
    with distpool.get_context("fork").Pool(2) as pool:
        yield pool
    pool.join()


def finish(pool):
    """Close and join; whether that came to an end."""
    pool.close()
    thread = threading.Thread(target=pool.join, daemon=True)
    thread.start()
    thread.join(LIMIT_S)
    return not thread.is_alive()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("buffersize", [1, 3, 10])
def test_no_more_is_read_than_the_buffer_holds(pool, method, buffersize):
    items = Input()
    results = getattr(pool, method)(tasks.square, items, buffersize=buffersize)
    items.wait_until_read(buffersize)
    assert sorted(items.take(results, 50))[:20] == [n * n for n in range(20)]
    items.wait_until_read(50 + buffersize)
    assert (items.read, items.most_ahead) == (50 + buffersize, buffersize)


@pytest.mark.parametrize(("chunksize", "buffersize"), [(3, 9), (3, 10), (4, 4), (10, 3)])
def test_nor_where_items_travel_in_chunks(pool, chunksize, buffersize):
    items = Input()
    results = pool.imap(tasks.square, items, chunksize, buffersize=buffersize)
    items.wait_until_read(min(chunksize, buffersize))
    assert items.take(results, 50) == [n * n for n in range(50)]
    assert items.most_ahead <= buffersize


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("chunksize", [1, 4])
def test_an_input_with_an_end_is_read_whole(pool, method, chunksize):
    results = getattr(pool, method)(tasks.square, Input(30), chunksize, buffersize=5)
    assert sorted(results) == [n * n for n in range(30)]
    assert list(getattr(pool, method)(tasks.square, [], buffersize=5)) == []


def test_a_buffer_larger_than_the_input(pool):
    assert list(pool.imap(tasks.square, range(10), buffersize=1000)) == [n * n for n in range(10)]


@pytest.mark.parametrize("method", METHODS)
def test_a_pool_whose_iterator_was_abandoned_ends(pool, method):
    items = Input()
    results = getattr(pool, method)(tasks.square, items, buffersize=4)
    items.take(results, 3)
    del results
    gc.collect()
    items.wait_for_its_thread()
    assert finish(pool)


def test_an_iterator_over_chunks_that_was_abandoned_is_no_hindrance_either(pool):
    items = Input()
    results = pool.imap(tasks.square, items, 2, buffersize=4)
    items.take(results, 3)
    results.close()
    del results
    gc.collect()
    items.wait_for_its_thread()
    assert finish(pool)


def test_an_iterator_that_was_never_asked_is_no_hindrance_either(pool):
    pool.imap(tasks.square, Input(), buffersize=4)
    gc.collect()
    assert finish(pool)


@pytest.mark.parametrize("method", METHODS)
def test_terminate_ends_an_endless_input(pool, method):
    items = Input()
    results = getattr(pool, method)(tasks.square, items, buffersize=4)
    items.take(results, 3)
    began_at = time.monotonic()
    pool.terminate()
    pool.join()
    assert time.monotonic() - began_at < LIMIT_S / 2
    items.wait_for_its_thread()


def test_the_rest_of_the_results_is_there_after_close(pool):
    results = pool.imap(tasks.square, range(20), buffersize=4)
    pool.close()
    assert list(results) == [n * n for n in range(20)]
    pool.join()


@pytest.mark.parametrize("method", METHODS)
def test_an_error_of_the_input_comes_after_what_it_gave(pool, method):
    def failing():
        yield from range(7)
        raise KeyError("input")

    results = getattr(pool, method)(tasks.square, failing(), buffersize=3)
    taken = [next(results) for _ in range(7)]
    assert sorted(taken) == [n * n for n in range(7)]
    with pytest.raises(KeyError, match="input"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


@pytest.mark.parametrize("method", METHODS)
def test_items_that_fail_or_cannot_be_sent_are_taken_like_others(pool, method):
    lock = threading.Lock()
    results = getattr(pool, method)(tasks.fail_on_three, [1, 3, lock, 4, 5, 3, 6], buffersize=2)
    taken = []
    for _ in range(7):
        try:
            taken.append(results.next(LIMIT_S))
        except (ValueError, TypeError) as error:
            taken.append(type(error).__name__)
    assert sorted(map(str, taken)) == ["1", "4", "5", "6", "TypeError", "ValueError", "ValueError"]


def test_a_result_that_is_late_does_not_count_as_taken(pool, new_gate):
    gate, items = new_gate(), Input()
    results = pool.imap(lambda n: tasks.wait_or_return(gate.path, n), items, buffersize=3)
    items.wait_until_read(3)
    for _ in range(3):
        with pytest.raises(distpool.TimeoutError):
            results.next(0.001)
    assert items.read == 3
    gate.open()
    assert items.take(results, 5) == [0, 1, 2, 3, 4]


def test_many_inputs_at_once(pool):
    iterators = [pool.imap(tasks.square, Input(), buffersize=2) for _ in range(10)]
    assert [next(each) for _ in range(5) for each in iterators] == [n * n for n in range(5) for _ in iterators]


def test_options_of_calls_go_with_it(pool):
    items = Input()
    results = pool.with_options(timeout=10, retries=1).imap(tasks.square, items, 5, buffersize=3)
    assert items.take(results, 20) == [n * n for n in range(20)]
    assert items.most_ahead <= 3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("buffersize", "error", "message"),
    [
        (0, ValueError, "buffersize is 0; it must be at least 1"),
        (-1, ValueError, "buffersize is -1"),
        (2.0, TypeError, "buffersize is 2.0, a float; it must be an int or None"),
        (True, TypeError, "buffersize is True, a bool"),
    ],
)
def test_a_buffersize_that_means_nothing_is_refused(pool, method, buffersize, error, message):
    with pytest.raises(error, match=message):
        getattr(pool, method)(tasks.square, [1], buffersize=buffersize)
