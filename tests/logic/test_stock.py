"""The objects of a store: who holds them, what goes to disk, what is freed; against a plain model."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from distpool.logic.arena import PAGE, whole_pages
from distpool.logic.sizes import size_text
from distpool.logic.stock import Holder, HolderKind, Stock, as_holder
from tests.logic.machines import tries

REFERENCES = [Holder(HolderKind.REFERENCE, number) for number in range(3)]
PINNING = [Holder(kind, 1) for kind in (HolderKind.CALL, HolderKind.WORKER, HolderKind.VALUE, HolderKind.FORK)]
HOLDERS = st.sampled_from(REFERENCES + PINNING)


class AnyStock(RuleBasedStateMachine):
    """Objects are taken, held, put on disk, fetched and dropped in any order."""

    @initialize(limit=st.integers(4, 60), warm=st.integers(0, 30))
    def open(self, limit, warm):
        self.limit = limit * PAGE
        self.stock = Stock(self.limit, warm * PAGE)
        self.sizes = {}
        self.pairs = set()
        self.on_disk = set()
        self.order = []  # those in memory, the one used last at the end

    @rule(size=st.integers(1, 20 * PAGE), holder=HOLDERS)
    def take(self, size, holder):
        in_memory = self.in_memory()
        taken = self.stock.take(size, holder)
        if taken is None:
            # Objects in warm extents may have more pages than they need, so a refusal can come a little early.
            assert in_memory + 2 * whole_pages(size) + sum(map(whole_pages, self.sizes.values())) > self.limit
            return
        stored, warm = taken
        self.stock.surplus()
        assert stored.id not in self.sizes
        assert 0 <= warm <= self.limit
        self.sizes[stored.id] = size
        self.order.append(stored.id)
        self.pairs.add((stored.id, holder))

    @rule(data=st.data(), holder=HOLDERS)
    def hold(self, data, holder):
        if self.sizes:
            object_id = data.draw(st.sampled_from(sorted(self.sizes)))
            assert self.stock.hold(object_id, holder)
            self.pairs.add((object_id, holder))

    @rule(data=st.data())
    def name(self, data):
        """An object names an older one."""
        if len(self.sizes) > 1:
            inner, outer = sorted(data.draw(st.permutations(sorted(self.sizes)))[:2])
            self.stock.hold(inner, as_holder(outer))
            self.pairs.add((inner, as_holder(outer)))

    @rule(data=st.data(), holder=HOLDERS)
    def release(self, data, holder):
        if self.sizes:
            object_id = data.draw(st.sampled_from(sorted(self.sizes)))
            self.pairs.discard((object_id, holder))
            self.check_freed(self.stock.release(object_id, holder))

    @rule(holder=HOLDERS)
    def drop(self, holder):
        self.pairs = {pair for pair in self.pairs if pair[1] != holder}
        self.check_freed(self.stock.drop(holder))

    @rule()
    def spill(self):
        victim = self.stock.victim()
        unpinned = [key for key in self.order if not any((key, holder) in self.pairs for holder in PINNING)]
        assert (None if victim is None else victim.id) == (unpinned[0] if unpinned else None)
        if victim is not None:
            self.stock.spill(victim)
            self.order.remove(victim.id)
            self.on_disk.add(victim.id)

    @rule(data=st.data())
    def restore(self, data):
        if self.on_disk:
            stored = self.stock.find(data.draw(st.sampled_from(sorted(self.on_disk))))
            if self.stock.restore(stored):
                self.stock.surplus()
                self.on_disk.remove(stored.id)
                self.order.append(stored.id)
            else:
                assert self.stock.used + whole_pages(stored.size) > self.limit

    @rule(data=st.data())
    def touch(self, data):
        if self.order:
            object_id = data.draw(st.sampled_from(sorted(self.order)))
            self.stock.touch(self.stock.find(object_id))
            self.order.remove(object_id)
            self.order.append(object_id)

    def check_freed(self, freed):
        gone = set()
        while True:
            held = {object_id for object_id, _ in self.pairs}
            new = {object_id for object_id in self.sizes if object_id not in held} - gone
            if not new:
                break
            gone |= new
            self.pairs = {pair for pair in self.pairs if pair[1] not in {as_holder(key) for key in gone}}
        assert {stored.id for stored in freed} == gone
        assert {stored.id for stored in freed if stored.is_spilled} == gone & self.on_disk
        for object_id in gone:
            del self.sizes[object_id]
            self.on_disk.discard(object_id)
            if object_id in self.order:
                self.order.remove(object_id)

    def in_memory(self):
        return sum(whole_pages(self.sizes[object_id]) for object_id in self.order)

    @invariant()
    def it_counts(self):
        if hasattr(self, "stock"):
            assert {stored.id for stored in self.stock.objects()} == set(self.sizes)
            assert self.stock.spilled == sum(self.sizes[object_id] for object_id in self.on_disk)
            assert self.stock.spilled_objects == len(self.on_disk)
            assert self.in_memory() <= self.stock.used <= self.limit


TestAnyStock = AnyStock.TestCase
TestAnyStock.settings = tries(300, steps=50)


def test_the_table_names_the_largest_objects_and_who_holds_them():
    stock = Stock(1000 * PAGE, 0)
    for number in range(1, 8):
        stock.take(number * PAGE, Holder(HolderKind.REFERENCE, number))
    stock.hold(7, Holder(HolderKind.CALL, 1))
    stock.hold(7, Holder(HolderKind.CALL, 2))
    stock.spill(stock.find(6))
    lines = stock.table().splitlines()
    assert lines[0].startswith("  object 7: 28.0 KiB in memory, held by ")
    assert "2 times a call that a worker was given" in lines[0]
    assert lines[1] == "  object 6: 24.0 KiB on disk, held by a reference, or a call that waits"
    assert lines[-1] == "  and 2 more of 12.0 KiB in all"


def test_sizes_in_words():
    assert [size_text(size) for size in (0, 1023, 1024, 1536, 2**20, 3 * 2**30, 5 * 2**40, 2**52)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 KiB",
        "1.0 MiB",
        "3.0 GiB",
        "5.0 TiB",
        "4096.0 TiB",
    ]
