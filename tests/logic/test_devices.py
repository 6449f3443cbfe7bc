"""Which devices a lease gets, against a plain table of what each lease has."""

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from distpool.ids import LeaseId
from distpool.logic.devices import DeviceTable
from distpool.protocol.devices import Device
from distpool.protocol.resources import UNIT
from tests.logic.machines import tries

GIB = 1024**3
DEVICES = st.builds(
    Device,
    st.just("x"),
    st.just("pretend"),
    st.integers(0, 4).map(lambda size: size * GIB),
    st.integers(0, 2),
    st.integers(-1, 1),
)
AMOUNTS = st.integers(1, UNIT - 1) | st.sampled_from([1, 3333, 5000, 9999, UNIT, 2 * UNIT, 4 * UNIT])
LEASES = st.integers(1, 20)


class DevicesAndLeases(RuleBasedStateMachine):
    """The model: for each lease its devices, the share of each, and the memory of each."""

    @initialize(devices=st.lists(DEVICES, max_size=8))
    def begin(self, devices):
        self.devices = devices
        self.table = DeviceTable(devices)
        self.leases = {}
        self.last = 0

    def share_left(self, at):
        return 1 - sum(Fraction(min(amount, UNIT), UNIT) for held, amount, _ in self.leases.values() if at in held)

    def bytes_left(self, at):
        whole = self.devices[at].memory_bytes
        taken = [whole if amount >= UNIT else size for held, amount, size in self.leases.values() if at in held]
        return whole - sum(taken)

    def is_untouched(self, at):
        return not any(at in held for held, _, _ in self.leases.values())

    def fits(self, at, amount, size):
        if amount >= UNIT:
            return self.is_untouched(at) and self.devices[at].memory_bytes >= size
        return self.share_left(at) >= Fraction(amount, UNIT) and self.bytes_left(at) >= size

    @rule(amount=AMOUNTS, size=st.integers(0, 5).map(lambda size: size * GIB))
    def allocate(self, amount, size):
        self.last += 1
        fitting = [at for at in range(len(self.devices)) if self.fits(at, amount, size)]
        left = {at: (self.share_left(at), self.bytes_left(at)) for at in fitting}
        untouched = [at for at in fitting if self.is_untouched(at)]
        positions = self.table.allocate(LeaseId(self.last), amount, size)
        needed = max(1, amount // UNIT)
        if positions is None:
            assert len(fitting) < needed
            return
        assert len(set(positions)) == len(positions) == needed
        assert set(positions) <= set(fitting)
        if amount < UNIT:
            (at,) = positions
            assert at not in untouched or len(untouched) == len(fitting), "a whole one is broken into last"
            if at not in untouched:
                order = 1 if size else 0
                assert left[at][order] == min(left[other][order] for other in fitting if other not in untouched)
        else:
            links = Counter(self.devices[at].link for at in fitting)
            large_enough = [link for link, count in links.items() if count >= needed]
            chosen = {self.devices[at].link for at in positions}
            if large_enough:
                assert len(chosen) == 1
                assert links[chosen.pop()] == min(links[link] for link in large_enough)
        assert self.table.could_ever(amount, size)
        self.leases[self.last] = (positions, amount, size)

    @rule(lease=LEASES)
    def free(self, lease):
        self.table.free(LeaseId(lease))
        self.leases.pop(lease, None)

    @rule(lease=LEASES)
    def restore_what_it_has(self, lease):
        if lease in self.leases:
            self.table.restore(LeaseId(lease), *self.leases[lease])

    @rule()
    def a_new_table_of_the_same_leases_is_the_same(self):
        self.table = DeviceTable(self.devices)
        for lease, held in self.leases.items():
            self.table.restore(LeaseId(lease), *held)

    @rule(amount=AMOUNTS, size=st.integers(0, 5).map(lambda size: size * GIB))
    def what_could_ever_be_is_what_an_empty_table_gives(self, amount, size):
        empty = DeviceTable(self.devices)
        assert self.table.could_ever(amount, size) == (empty.allocate(LeaseId(1), amount, size) is not None)

    @invariant()
    def no_device_is_given_away_twice(self):
        for at in range(len(self.devices)):
            assert self.share_left(at) >= 0
            assert self.bytes_left(at) >= 0
        whole = [at for held, amount, _ in self.leases.values() if amount >= UNIT for at in held]
        assert len(whole) == len(set(whole))

    @invariant()
    def the_sums_are_exact(self):
        free = sum(self.share_left(at) for at in range(len(self.devices)))
        assert Fraction(self.table.free_amount(), UNIT) == free
        assert self.table.total() == UNIT * len(self.devices)


TestDevicesAndLeases = DevicesAndLeases.TestCase
TestDevicesAndLeases.settings = tries(60)


def devices(*links_and_nodes, size=GIB):
    return [Device(str(at), "pretend", size, link, numa) for at, (link, numa) in enumerate(links_and_nodes)]


def test_three_thirds_of_a_device_are_one_and_no_more():
    table = DeviceTable(devices((0, 0)))
    assert [table.allocate(LeaseId(lease), 3333) for lease in (1, 2, 3, 4)] == [(0,), (0,), (0,), None]
    assert table.free_amount() == 1
    assert table.allocate(LeaseId(5), 1) == (0,)


def test_shares_leave_the_larger_link_group_whole():
    table = DeviceTable(devices((0, 0), (0, 0), (1, 0)))
    assert table.allocate(LeaseId(1), 5000) == (2,)
    assert table.allocate(LeaseId(2), 2 * UNIT) == (0, 1)


def test_whole_devices_of_a_group_come_from_one_memory_node():
    table = DeviceTable(devices((0, 0), (0, 1), (0, 0), (0, 1), (0, 1)))
    assert table.allocate(LeaseId(1), 2 * UNIT) == (0, 2)
    assert table.allocate(LeaseId(2), 3 * UNIT) == (1, 3, 4)


def test_more_devices_than_one_group_has_come_from_few_groups():
    table = DeviceTable(devices((0, 0), (1, 0), (1, 0), (2, 0), (2, 0), (2, 0)))
    assert table.allocate(LeaseId(1), 5 * UNIT) == (1, 2, 3, 4, 5)


def test_memory_is_packed_and_a_whole_device_takes_all_of_it():
    table = DeviceTable(devices((0, 0), (0, 0), size=4 * GIB))
    assert table.allocate(LeaseId(1), 1000, 3 * GIB) == (0,)
    assert table.allocate(LeaseId(2), 1000, 2 * GIB) == (1,)
    assert table.allocate(LeaseId(3), 1000, GIB) == (0,), "the one with the least memory that is enough"
    assert table.allocate(LeaseId(4), UNIT) is None
    table.free(LeaseId(2))
    assert table.allocate(LeaseId(4), UNIT) == (1,)
    assert table.allocate(LeaseId(5), 0, GIB) is None


def test_memory_alone_can_be_asked_for_and_nothing_at_all():
    table = DeviceTable(devices((0, 0), size=4 * GIB))
    assert table.allocate(LeaseId(1), 0) == ()
    assert table.allocate(LeaseId(2), 0, 4 * GIB) == (0,)
    assert table.allocate(LeaseId(3), 0, 1) is None
    assert table.allocate(LeaseId(4), UNIT) is None, "somebody uses its memory"
    assert not table.could_ever(0, 5 * GIB)
    assert not DeviceTable([]).could_ever(1)
    assert DeviceTable([]).could_ever(0)


def test_a_node_is_believed_and_frees_what_it_said():
    table = DeviceTable(devices((0, 0)))
    table.restore(LeaseId(1), [0, 7], UNIT, 0)
    table.restore(LeaseId(2), [0], 5000, 0)
    assert table.free_amount() == 0
    table.free(LeaseId(1))
    assert table.free_amount() == 5000
    table.free(LeaseId(2))
    assert table.free_amount() == UNIT


@pytest.mark.parametrize(("amount", "size"), [(-1, 0), (UNIT + 1, 0), (15_000, 0), (UNIT, -1)])
def test_amounts_that_are_none_are_refused(amount, size):
    with pytest.raises(ValueError, match="it must be"):
        DeviceTable([]).allocate(LeaseId(1), amount, size)
    with pytest.raises(ValueError, match="it must be"):
        DeviceTable([]).could_ever(amount, size)


def test_a_lease_gets_devices_once():
    table = DeviceTable(devices((0, 0), (0, 0)))
    table.allocate(LeaseId(1), UNIT)
    with pytest.raises(ValueError, match="lease 1 has devices already"):
        table.allocate(LeaseId(1), UNIT)
