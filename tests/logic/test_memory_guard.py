"""Which worker is ended when memory is about to run out, and what is said of it."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from distpool.ids import GroupId, LeaseId
from distpool.logic.memory_guard import Excess, Running, Weighed, why_ended, worker_to_end
from tests.logic.machines import tries

MIB = 1024**2


def worker(lease, memory, group=1, since=0.0, may_repeat=False, call=""):
    running = Running(LeaseId(lease), GroupId(group), since, may_repeat, call)
    return Weighed(running, 1000 + lease, memory * MIB, f"Worker-{lease}")


WORKERS = st.lists(
    st.tuples(st.integers(0, 100), st.integers(1, 3), st.integers(0, 5).map(float), st.booleans()), max_size=12
).map(lambda rows: [worker(lease, *row) for lease, row in enumerate(rows)])


@given(workers=WORKERS, worth=st.integers(0, 60))
@tries(300)
def test_the_youngest_large_worker_of_the_largest_group_goes_and_first_what_may_run_again(workers, worth):
    chosen = worker_to_end(workers, worth * MIB)
    worthy = [each for each in workers if each.memory_bytes >= worth * MIB]
    if chosen is None:
        assert not worthy
        return
    sums = defaultdict(int)
    for each in worthy:
        sums[each.running.group] += each.memory_bytes
    assert chosen in worthy
    assert sums[chosen.running.group] == max(sums.values())
    group = [each for each in worthy if each.running.group == chosen.running.group]
    mean = sums[chosen.running.group] / len(group)
    assert chosen.memory_bytes >= mean / 2
    large = [each for each in group if each.memory_bytes >= mean / 2]
    if not chosen.running.may_repeat:
        assert not any(each.running.may_repeat for each in large)
    alike = [each for each in large if each.running.may_repeat == chosen.running.may_repeat]
    assert chosen.running.since == max(each.running.since for each in alike)


def test_a_worker_that_has_hardly_anything_is_not_ended_though_its_call_is_the_youngest():
    old, young = worker(1, 1000, since=1.0), worker(2, 20, since=2.0)
    assert worker_to_end([old, young], 10 * MIB) == old


def test_the_table_has_the_largest_workers_first_and_who_was_ended():
    workers = [worker(lease, 100 * lease, call="train" if lease == 3 else "") for lease in range(1, 11)]
    text = why_ended(workers[2], workers, Excess("the machine's memory", 980 * MIB, 950 * MIB, 1000 * MIB))
    first, *table = text.splitlines()
    assert first == (
        "980.0 MiB of the machine's memory, 1000.0 MiB, were in use, and the limit is 950.0 MiB. The largest workers "
        "that ran calls:"
    )
    assert table[0].split() == ["pid", "memory", "worker", "call"]
    assert [line.split()[0] for line in table[1:]] == [str(1000 + lease) for lease in range(10, 2, -1)]
    assert table[-1] == "    1003   300.0 MiB  Worker-3   train  (ended)"
