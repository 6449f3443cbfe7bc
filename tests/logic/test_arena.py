"""The store's extents, against a list of intervals and the pages that they have."""

from itertools import pairwise

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from distpool.logic.arena import PAGE, Arena, room_for, whole_pages
from tests.logic.machines import tries

KIB = 1024
SIZES = st.one_of(st.integers(0, 3 * PAGE), st.integers(0, 80 * PAGE), st.sampled_from([PAGE, 8 * PAGE, 64 * PAGE]))


class AnyArena(RuleBasedStateMachine):
    """What a store does with it: takes, frees, gives pages back, now and then fails to get some."""

    arena: Arena

    @initialize(limit=st.integers(1, 200), warm=st.integers(0, 200))
    def open(self, limit, warm):
        self.limit, self.warm_limit = limit * PAGE, warm * PAGE
        self.arena = Arena(self.limit, self.warm_limit)
        self.taken = []
        self.pages = {}  # of every extent that has some: offset → bytes from there

    @rule(size=SIZES)
    def take(self, size):
        used = sum(self.pages[extent.offset] for extent in self.taken)
        taken = self.arena.take(size)
        if taken is None:
            assert used + whole_pages(size) > self.limit
            return
        extent, had = taken
        assert extent not in self.taken
        assert extent.room >= whole_pages(size)
        assert had == self.pages.get(extent.offset, 0)
        self.give_back(self.arena.surplus())
        self.pages[extent.offset] = max(had, whole_pages(size))
        assert sum(self.pages.values()) <= self.limit
        self.taken.append(extent)

    @rule(size=SIZES)
    def take_in_vain(self, size):
        taken = self.arena.take(size)
        if taken is not None:
            self.give_back(self.arena.surplus())
            self.pages.pop(taken[0].offset, None)
            self.arena.forget(taken[0])

    @rule(data=st.data())
    def free(self, data):
        if self.taken:
            extent = data.draw(st.sampled_from(self.taken))
            self.taken.remove(extent)
            self.arena.free(extent)
            self.give_back(self.arena.surplus())
            assert self.arena.warm <= self.warm_limit

    @rule(warm_limit=st.integers(0, 50))
    def shrink(self, warm_limit):
        self.give_back(self.arena.surplus(warm_limit * PAGE))
        assert self.arena.warm <= warm_limit * PAGE

    def give_back(self, extents):
        for extent in extents:
            assert extent not in self.taken
            del self.pages[extent.offset]

    @invariant()
    def no_two_overlap(self):
        if hasattr(self, "arena"):
            intervals = sorted((extent.offset, extent.offset + extent.room) for extent in self.taken)
            assert all(end <= begin for (_, end), (begin, _) in pairwise(intervals))
            assert all(self.pages[extent.offset] <= extent.room for extent in self.taken)

    @invariant()
    def it_knows_what_has_pages(self):
        if hasattr(self, "arena"):
            assert self.arena.used == sum(self.pages[extent.offset] for extent in self.taken)
            assert self.arena.used + self.arena.warm == sum(self.pages.values())


TestAnyArena = AnyArena.TestCase
TestAnyArena.settings = tries(300, steps=60)


# In words -----------------------------------------------------------------------------------------------------------


def taken(arena, size):
    extent, had = arena.take(size)
    assert arena.surplus() == []
    return extent, had


def test_a_freed_extent_is_warm_for_the_next_object_of_its_size():
    arena = Arena(1000 * PAGE, 1000 * PAGE)
    first, had = taken(arena, 100 * PAGE)
    assert had == 0
    arena.free(first)
    again, had = taken(arena, 100 * PAGE)
    assert (again, had) == (first, 100 * PAGE)


@pytest.mark.parametrize(("size", "is_warm"), [(99, True), (60, True), (50, True), (40, False), (130, False)])
def test_about_its_size_is_enough(size, is_warm):
    arena = Arena(1000 * PAGE, 1000 * PAGE)
    first, _ = taken(arena, 100 * PAGE)
    arena.free(first)
    assert (taken(arena, size * PAGE)[0] is first) == is_warm


def test_a_larger_object_in_a_warm_extent_needs_pages_for_the_rest():
    arena = Arena(1000 * PAGE, 1000 * PAGE)
    first, _ = taken(arena, 100 * PAGE)
    arena.free(first)
    again, had = taken(arena, 110 * PAGE)
    assert (again, had, again.resident) == (first, 100 * PAGE, 110 * PAGE)


def test_warm_pages_make_room_for_an_object_those_freed_first():
    arena = Arena(300 * PAGE, 300 * PAGE)
    old, new = taken(arena, 100 * PAGE)[0], taken(arena, 150 * PAGE)[0]
    arena.free(old)
    arena.free(new)
    assert arena.take(10 * PAGE) is not None
    assert arena.surplus() == []
    assert arena.take(45 * PAGE) is not None
    assert arena.surplus() == [old]


def test_what_does_not_fit_beside_the_objects_is_refused_and_changes_nothing():
    arena = Arena(100 * PAGE, 100 * PAGE)
    taken(arena, 60 * PAGE)
    assert arena.take(41 * PAGE) is None
    assert (arena.used, arena.warm) == (60 * PAGE, 0)
    assert arena.take(40 * PAGE) is not None


@pytest.mark.parametrize("size", [0, 1, PAGE, PAGE + 1, 5 * PAGE, 9 * PAGE, 100_000, 10**8, 5 * 2**30 + 1])
def test_room_is_whole_pages_and_hardly_more_than_asked_for(size):
    room = room_for(size)
    assert room % PAGE == 0
    assert whole_pages(size) <= room < 1.25 * whole_pages(size) + PAGE
    assert room_for(room) == room
