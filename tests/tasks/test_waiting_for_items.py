"""`distpool.wait` with generators among the refs, in the program and in workers."""

import asyncio

import pytest

import distpool
from tests.runtime.programs import output_of

from .functions import add, fail, gated, noted, wait_for, wait_until

pytestmark = pytest.mark.usefixtures("own_program")


@distpool.remote
def failing():
    yield 1
    raise KeyError("no more")


@distpool.remote
def arrays(number):
    import numpy as np

    for item in range(number):
        yield np.full(100_000, float(item))


@distpool.remote
def called(function, *args):
    return function(*args)


def here(function, *args):
    return function(*args)


def in_a_worker(function, *args):
    return distpool.get(called.remote(function, *args))


everywhere = pytest.mark.parametrize("run", [here, in_a_worker])


def steps_of_a_wait(gate):
    items = gated.remote(gate)
    assert distpool.wait([items]) == ([items], [])
    assert distpool.get(next(items)) == "first"
    assert distpool.wait([items], timeout=0.01) == ([], [items])
    done = add.remote(1)
    assert distpool.wait([items, done]) == ([done], [items])
    with open(gate, "w"):
        assert distpool.wait([items, items, done], num_returns=3) == ([items, items, done], [])
    assert distpool.wait([items, done]) == ([items], [done])
    assert distpool.get([next(items), items.completed()]) == ["second", 2]
    assert distpool.wait([items]) == ([items], [])
    assert list(items) == []
    assert items.is_finished()
    assert distpool.wait([items], timeout=0) == ([items], [])


@everywhere
def test_a_generator_is_ready_when_its_next_step_need_not_wait(run, tmp_path):
    run(steps_of_a_wait, str(tmp_path / "gate"))


def ends_of_generators(gate):
    never, items, refused = wait_for.remote(gate), failing.remote(), gated.remote(fail.remote())
    for _ in range(2):
        assert distpool.wait([never, items]) == ([items], [never])
        last = next(items)
    assert isinstance(last.exception(), KeyError)
    assert distpool.wait([never, items]) == ([items], [never])
    assert distpool.wait([never, refused]) == ([refused], [never])
    assert isinstance(next(refused).exception(), ValueError)
    distpool.cancel(never, force=True)


@everywhere
def test_one_that_has_failed_is_ready_and_so_is_one_that_has_ended(run, tmp_path):
    run(ends_of_generators, str(tmp_path / "gate"))


def all_of_several(number):
    """By turns, as each has its next."""
    pending, got = [arrays.remote(number) for _ in range(3)], []
    while pending:
        (items,), _ = distpool.wait(pending)
        ref = next(items, None)
        if ref is None:
            pending.remove(items)
        else:
            got.append(distpool.get(ref)[0])
    return sorted(got)


@everywhere
def test_items_of_several_are_taken_as_they_come(run):
    assert run(all_of_several, 20) == sorted([float(item) for item in range(20)] * 3)


def waited_for_and_iterated(number):
    async def main():
        items = arrays.remote(number)
        distpool.wait([items])
        return [(await ref)[0] async for ref in items]

    return asyncio.run(main())


@everywhere
def test_what_was_waited_for_is_taken_by_a_coroutine_too(run):
    assert run(waited_for_and_iterated, 3) == [0.0, 1.0, 2.0]


def waited_for_and_dropped(path):
    items = noted.remote(path, 10**9)
    assert distpool.get(next(items)) == 0
    distpool.wait([items])


@everywhere
def test_one_that_was_waited_for_and_is_dropped_ends(run, lines):
    run(waited_for_and_dropped, lines.path)
    wait_until(lambda: lines()[-1:] == ["end"])


def test_to_wait_takes_nothing_from_the_window(lines):
    items = noted.options(generator_backpressure_num_objects=2).remote(lines.path, 10**9)
    for _ in range(3):
        assert distpool.wait([items]) == ([items], [])
    wait_until(lambda: len(lines()) == 2)
    assert distpool.get(next(items)) == 0
    wait_until(lambda: len(lines()) == 3)


def test_who_cannot_be_waited_for_is_told_what_to_write():
    items = gated.remote("")
    with pytest.raises(TypeError, match=r"get takes refs or futures; number 0 is <Obj.*>, a .*: iterate over it"):
        distpool.get([items])
    with pytest.raises(TypeError, match=r"as_completed takes refs or futures; .*: iterate over it, its items are refs"):
        distpool.as_completed([items])
    with pytest.raises(TypeError, match=r"wait takes a list of refs .*, not <.*> itself: write wait\(\[...\]\)"):
        distpool.wait(items)
    with pytest.raises(TypeError, match="wait takes refs or futures; number 1 is 3, a int"):
        distpool.wait([items, 3])


REFUSED = """
    import os, sys
    os.environ["DISTPOOL_WAITING_LIMIT"] = "1"
    import distpool, distpool.errors

    @distpool.remote
    def gated(gate):
        while not os.path.exists(gate):
            pass
        yield "first"

    @distpool.remote
    def refused(gate):
        items = gated.remote(gate)
        assert distpool.wait([items]) == ([items], [])
        try:
            next(items)
        except distpool.errors.TooManyWaiting as error:
            return "1 workers wait" in str(error)

    @distpool.remote
    def waits(gate):
        items = gated.remote(gate)
        assert distpool.wait([items], timeout=0.01) == ([], [items])
        told = distpool.get(refused.remote(gate))
        open(gate, "w").close()
        return told, distpool.get(next(items))

    if __name__ == "__main__":
        print(distpool.get(waits.remote(sys.argv[1])))
"""


def test_where_too_many_wait_the_next_step_says_so(tmp_path):
    assert output_of(tmp_path, REFUSED, str(tmp_path / "gate")) == "(True, 'first')\n"
