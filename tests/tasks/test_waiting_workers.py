"""A worker counts as one that waits, and gives its CPU back, for exactly as long as its call does nothing else."""

import concurrent.futures
import os
import time

import pytest

import distpool
from distpool.runtime import session

from .functions import gated, note_line, wait_for, wait_until

pytestmark = pytest.mark.usefixtures("own_program")

SHORT_S = 0.05


@distpool.remote
def one_later():
    time.sleep(SHORT_S)
    return 1


def some_of_a_wait(refs):
    assert distpool.wait(refs, num_returns=1) == (refs[:1], refs[1:])


def some_of_a_wait_with_a_future(refs):
    done = concurrent.futures.Future()
    done.set_result(1)
    assert distpool.wait([*refs, done], num_returns=2) == ([refs[0], done], refs[1:])


def a_wait_that_times_out(refs):
    distpool.get(refs[0])
    assert distpool.wait(refs, num_returns=3, timeout=SHORT_S) == (refs[:1], refs[1:])


def a_wait_with_one_ref_twice(refs):
    distpool.get(refs[0])
    assert distpool.wait([refs[1], *refs], num_returns=2, timeout=SHORT_S)[0] == refs[:1]


def a_get_that_times_out(refs):
    with pytest.raises(TimeoutError):
        distpool.get(refs, timeout=SHORT_S)


def a_result_that_times_out(refs):
    with pytest.raises(TimeoutError):
        refs[1].result(SHORT_S)


def one_as_completed(refs):
    for ref in distpool.as_completed(refs):
        assert ref == refs[0]
        break


def a_wait_of_the_standard_library(refs):
    distpool.get(refs[0])
    assert concurrent.futures.wait(refs, timeout=SHORT_S).done == {refs[0]}


@distpool.remote
def parent(way, folder):
    """Waits in that way, computes, and waits for all."""
    refs = [one_later.remote(), *(wait_for.remote(f"{folder}/{number}") for number in range(2))]
    way(refs)
    compute(folder)
    return distpool.get(refs)


def compute(folder):
    """Until it is to end."""
    note_line(f"{folder}/computes", os.getpid())
    wait_until(lambda: os.path.exists(f"{folder}/computes no more"))


@distpool.remote
def parent_of_generator(folder, ready):
    items = gated.remote(f"{folder}/0")
    assert distpool.wait([items]) == ([items], [])
    if not ready:
        assert distpool.get(next(items)) == "first"
        assert distpool.wait([items], timeout=SHORT_S) == ([], [items])
    compute(folder)
    return [distpool.get(item) for item in items]


def waiting_workers():
    leases = [lease for group in session._current[0].loop.client.groups.values() for lease in group.leases.values()]
    return sum(bool(lease.waits) for lease in leases)


def nobody_waits_where_one_computes(ref, folder):
    wait_until(lambda: ref.done() or ((folder / "computes").exists() and waiting_workers() == 0))
    if ref.done():
        distpool.get(ref)
    done = concurrent.futures.Future()
    distpool.wait([done], timeout=SHORT_S)  # turns of the loop are run meanwhile
    assert waiting_workers() == 0


def let_go(folder, *names):
    for name in names:
        (folder / name).touch()


@pytest.mark.parametrize(
    "way",
    [
        some_of_a_wait,
        some_of_a_wait_with_a_future,
        a_wait_that_times_out,
        a_wait_with_one_ref_twice,
        a_get_that_times_out,
        a_result_that_times_out,
        one_as_completed,
        a_wait_of_the_standard_library,
    ],
)
def test_who_has_waited_long_enough_goes_on(way, tmp_path):
    ref = parent.remote(way, tmp_path)
    nobody_waits_where_one_computes(ref, tmp_path)
    let_go(tmp_path, "computes no more")
    wait_until(lambda: waiting_workers() == 1)
    let_go(tmp_path, "0", "1")
    assert distpool.get(ref)[0] == 1
    assert waiting_workers() == 0


@pytest.mark.parametrize("ready", [True, False])
def test_so_does_who_has_waited_for_an_item(ready, tmp_path):
    ref = parent_of_generator.remote(tmp_path, ready)
    nobody_waits_where_one_computes(ref, tmp_path)
    let_go(tmp_path, "computes no more")
    wait_until(lambda: waiting_workers() == 1)
    let_go(tmp_path, "0")
    assert distpool.get(ref)[-1] == "second"
