"""Remote generators: refs of their items while they run, and what ends them."""

import asyncio
import os
import pickle
import signal

import numpy as np
import pytest

import distpool
from distpool.context import cpu_count_for_pools
from distpool.objects.stores import home

from .functions import add, gated, note_line, noted, total, wait_until

pytestmark = pytest.mark.usefixtures("own_program")

LARGE = 100_000
ALL_CPUS = cpu_count_for_pools()


@distpool.remote
def count(number, start=0):
    yield from range(start, start + number)


@distpool.remote
def arrays(number):
    for item in range(number):
        yield np.full(LARGE, float(item))


@distpool.remote
def fail_after(number):
    yield from range(number)
    raise KeyError("no more")


@distpool.remote
def die_after(number, path, give=10):
    """Once."""
    note_line(path, "run")
    with open(path) as file:
        runs = len(file.readlines())
    for item in range(give if runs > 1 else 10):
        if runs == 1 and item == number:
            os.kill(os.getpid(), signal.SIGKILL)
        yield item


@distpool.remote
def consumed(number):
    return [distpool.get(ref) for ref in count.remote(number)]


@distpool.remote
def consumed_with(function):
    return function()


def test_each_item_has_a_ref_in_order():
    refs = list(count.remote(100))
    assert all(isinstance(ref, distpool.TaskRef) for ref in refs)
    assert distpool.get(refs) == list(range(100))
    assert list(count.remote(0)) == []


def test_an_item_is_there_while_the_generator_goes_on(tmp_path):
    items = gated.remote(str(tmp_path / "gate"))
    assert isinstance(items, distpool.ObjectRefGenerator)
    assert distpool.get(next(items)) == "first"
    assert not items.is_finished()
    assert not items.completed().done()
    (tmp_path / "gate").touch()
    assert distpool.get(next(items)) == "second"
    with pytest.raises(StopIteration):
        next(items)
    assert items.is_finished()
    assert distpool.get(items.completed()) == 2
    with pytest.raises(StopIteration):
        next(items)


def test_large_items_go_by_the_store_and_leave_it():
    before = home().stats().objects
    items = arrays.options(generator_backpressure_num_objects=3).remote(20)
    for place, ref in enumerate(items):
        assert home().stats().objects - before <= 3 + 2
        assert distpool.get(total.remote(ref)) == float(place * LARGE)
        del ref
    wait_until(lambda: home().stats().objects == before)


def test_a_generator_waits_for_those_who_take_its_items(lines):
    items = noted.options(generator_backpressure_num_objects=2).remote(lines.path, 10)
    wait_until(lambda: len(lines()) == 2)
    for taken in range(1, 5):
        assert distpool.get(next(items)) == taken - 1
        wait_until(lambda: len(lines()) == taken + 2)  # noqa: B023
    assert distpool.get(list(items)) == list(range(4, 10))
    assert lines()[-1] == "end"


def test_by_default_32_items_may_wait_and_any_number_if_it_is_said(lines, tmp_path):
    without = str(tmp_path / "without")
    some = noted.remote(lines.path, 100)
    more = noted.options(generator_backpressure_num_objects=-1).remote(without, 100)
    assert distpool.get(more.completed()) == 100
    wait_until(lambda: len(lines()) == 32)
    assert distpool.get([*some, *more]) == [*range(100)] * 2


def test_one_that_waits_gives_its_cpus_to_those_who_take_its_items(lines):
    items = noted.options(num_cpus=ALL_CPUS, generator_backpressure_num_objects=1).remote(lines.path, 3)
    wanted = add.options(num_cpus=ALL_CPUS)
    assert [distpool.get(wanted.remote(ref, 10)) for ref in items] == [10, 11, 12]


def test_an_exception_is_the_last_item():
    items = fail_after.remote(2)
    assert [distpool.get(next(items)) for _ in range(2)] == [0, 1]
    last = next(items)
    with pytest.raises(KeyError, match="no more") as caught:
        distpool.get(last)
    assert "fail_after" in str(caught.value.__cause__)
    with pytest.raises(StopIteration):
        next(items)
    with pytest.raises(KeyError):
        distpool.get(items.completed())


def test_an_item_that_cannot_be_pickled_is_the_error_of_that():
    @distpool.remote
    def some():
        yield 1
        yield (item for item in ())
        yield 3

    one, other, three = some.remote()
    assert distpool.get([one, three]) == [1, 3]
    with pytest.raises(TypeError, match="generator"):
        distpool.get(other)


def test_a_function_that_streams_may_return_any_iterator_and_nothing_else():
    many, plain = (distpool.remote(num_returns="streaming")(function) for function in (iter, len))
    assert distpool.get(list(many.remote([5, 6]))) == [5, 6]
    (ref,) = plain.remote([5, 6])
    with pytest.raises(TypeError, match=r"len was to give its items one by one, .* and returned a int: 2: make it a"):
        distpool.get(ref)


def test_arguments_that_are_refs_are_waited_for_and_refs_in_items_stay_refs():
    @distpool.remote
    def refs_of(number):
        for item in range(number):
            yield [add.remote(item, 1), distpool.put(item)]

    got = [distpool.get(ref) for ref in refs_of.remote(add.remote(1, 2))]
    assert [distpool.get(both) for both in got] == [[1, 0], [2, 1], [3, 2]]


def test_one_whose_argument_fails_gives_its_error():
    @distpool.remote
    def fail():
        raise ValueError("no")

    (ref,) = count.remote(fail.remote())
    with pytest.raises(ValueError, match="no"):
        distpool.get(ref)


@pytest.mark.parametrize("drop", [distpool.cancel, None], ids=["cancelled", "without a handle"])
@pytest.mark.parametrize("ahead", [4, -1])
def test_one_that_nobody_wants_ends(lines, drop, ahead):
    items = noted.options(generator_backpressure_num_objects=ahead).remote(lines.path, 10**9)
    assert distpool.get(next(items)) == 0
    completed = items.completed()
    if drop is None:
        del items
    else:
        drop(items)
        with pytest.raises(distpool.TaskCancelled, match="noted was cancelled"):
            distpool.get([*items])
    wait_until(lambda: lines()[-1] == "end")
    with pytest.raises(distpool.TaskCancelled):
        distpool.get(completed)


def test_one_that_has_not_begun_and_is_dropped_does_not_begin(lines, tmp_path):
    blockers = [gated.remote(str(tmp_path / "gate")) for _ in range(ALL_CPUS)]
    for items in blockers:
        next(items)
    noted.remote(lines.path, 3)
    (tmp_path / "gate").touch()
    assert [len(list(items)) for items in blockers] == [1] * ALL_CPUS
    assert distpool.get(add.remote(1)) == 1
    assert lines() == []


def test_the_death_of_its_worker_is_the_next_item(lines):
    items = die_after.remote(3, lines.path)
    refs = list(items)
    assert distpool.get(refs[:3]) == [0, 1, 2]
    with pytest.raises(distpool.WorkerDied, match="die_after"):
        distpool.get(refs[3])
    assert len(refs) == 4


def test_one_that_runs_again_goes_on_after_what_it_gave(lines):
    items = die_after.options(retries=1).remote(3, lines.path)
    assert distpool.get(list(items)) == list(range(10))
    assert lines() == ["run", "run"]


def test_one_that_runs_again_after_an_exception_does_so_too(lines):
    @distpool.remote(retries=1, retry_exceptions=[OSError])
    def fail_at_first(path):
        note_line(path, "run")
        with open(path) as file:
            is_first = len(file.readlines()) == 1
        yield from range(3)
        if is_first:
            raise OSError("not yet")
        yield 3

    assert distpool.get(list(fail_at_first.remote(lines.path))) == [0, 1, 2, 3]


def test_one_that_gives_fewer_items_when_it_runs_again_ends_with_an_error(lines):
    *refs, last = die_after.options(retries=1).remote(3, lines.path, 2)
    assert distpool.get(refs) == [0, 1, 2]
    with pytest.raises(RuntimeError, match=r"gave 2 items, and 3 had come of it: it was run again, and gave fewer"):
        distpool.get(last)


def test_coroutines_iterate_too(tmp_path):
    async def all_of(items):
        return [await ref async for ref in items]

    async def main():
        waiting = asyncio.ensure_future(all_of(gated.remote(str(tmp_path / "gate"))))
        others = await asyncio.gather(*(all_of(count.remote(20, start)) for start in range(3)))
        (tmp_path / "gate").touch()
        return await waiting, others

    assert asyncio.run(main()) == (["first", "second"], [list(range(start, start + 20)) for start in range(3)])


def test_several_threads_take_each_item_once():
    items, taken = count.remote(200), []
    with distpool.futures.ThreadPoolExecutor(4) as threads:
        for _ in range(4):
            threads.submit(lambda: taken.extend(distpool.get(ref) for ref in items))
    assert sorted(taken) == list(range(200))


def test_a_task_takes_the_items_of_generators_that_it_starts():
    assert distpool.get([consumed.remote(number) for number in (0, 1, 70)]) == [[], [0], list(range(70))]

    def large():
        return [float(distpool.get(ref)[0]) for ref in arrays.remote(5)]

    def failing():
        *refs, last = fail_after.remote(2)
        return distpool.get(refs), type(last.exception()).__name__

    def first_only():
        return distpool.get(next(count.remote(10**9)))

    def asynchronous():
        async def main():
            return [await ref async for ref in count.remote(40)]

        return asyncio.run(main())

    def passed_on():
        return list(count.remote(3))

    assert distpool.get(consumed_with.remote(large)) == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert distpool.get(consumed_with.remote(failing)) == ([0, 1], "KeyError")
    assert distpool.get(consumed_with.remote(first_only)) == 0
    assert distpool.get(consumed_with.remote(asynchronous)) == list(range(40))
    assert distpool.get(distpool.get(consumed_with.remote(passed_on))) == [0, 1, 2]


def test_a_generator_of_a_worker_that_has_ended_ends(lines):
    @distpool.remote
    def die_with_it(path):
        items = noted.options(generator_backpressure_num_objects=-1).remote(path, 10**9)
        next(items)
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(distpool.WorkerDied):
        distpool.get(die_with_it.remote(lines.path))
    wait_until(lambda: lines()[-1] == "end")


def test_a_handle_stays_where_it_was_made():
    items = count.remote(1)
    with pytest.raises(TypeError, match="cannot be sent to another process: take its refs here"):
        pickle.dumps(items)
    with pytest.raises(TypeError, match=r"cannot be sent .* argument 0 cannot"):
        add.remote(items)
    with pytest.raises(TypeError, match="get takes a list of refs"):
        distpool.get(items)


@pytest.mark.parametrize(
    ("function", "options", "error"),
    [
        (len, {"num_returns": "stream"}, TypeError),
        (len, {"num_returns": -2}, ValueError),
        (len, {"generator_backpressure_num_objects": 4}, ValueError),
        (iter, {"num_returns": "streaming", "generator_backpressure_num_objects": 0}, ValueError),
        (iter, {"num_returns": "streaming", "generator_backpressure_num_objects": True}, TypeError),
    ],
)
def test_options_that_make_no_sense_are_errors(function, options, error):
    with pytest.raises(error, match=rf"{list(options)[-1]} is .*{list(options.values())[-1]}"):
        distpool.remote(**options)(function)


def test_async_generators_are_for_actors():
    async def items():
        yield 1

    with pytest.raises(TypeError, match="items is an async generator: make it a plain one, or a method of an actor"):
        distpool.remote(items)
