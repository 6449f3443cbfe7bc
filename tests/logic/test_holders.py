"""Who keeps which object alive, against a set of pairs."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from distpool.logic.holders import Holders
from tests.logic.machines import tries

OBJECTS = [f"object {number}" for number in range(6)]
PROCESSES = [f"process {number}" for number in range(3)]


class AnyHolders(RuleBasedStateMachine):
    """Objects are numbered, and hold only those of smaller numbers: what names another was made after it."""

    def __init__(self):
        super().__init__()
        self.holders = Holders()
        self.pairs = set()

    @rule(key=st.sampled_from(OBJECTS), holder=st.sampled_from(PROCESSES))
    def hold(self, key, holder):
        self.holders.hold(key, holder)
        self.pairs.add((key, holder))

    @rule(number=st.integers(0, 5), inner=st.integers(0, 4))
    def name_another(self, number, inner):
        outer = OBJECTS[number]
        if inner < number and self.is_held(outer):
            self.holders.hold(OBJECTS[inner], outer)
            self.pairs.add((OBJECTS[inner], outer))

    @rule(key=st.sampled_from(OBJECTS), holder=st.sampled_from(PROCESSES))
    def release(self, key, holder):
        was_held = self.held()
        self.pairs.discard((key, holder))
        self.forget_what_nobody_holds()
        freed = self.holders.release(key, holder)
        assert len(freed) == len(set(freed))
        assert set(freed) == was_held - self.held()

    @rule(holder=st.sampled_from(PROCESSES))
    def drop(self, holder):
        was_held = self.held()
        self.pairs = {pair for pair in self.pairs if pair[1] != holder}
        self.forget_what_nobody_holds()
        freed = self.holders.drop(holder)
        assert len(freed) == len(set(freed))
        assert set(freed) == was_held - self.held()

    def is_held(self, key):
        return key in self.held()

    def held(self):
        return {key for key, _ in self.pairs}

    def forget_what_nobody_holds(self):
        for _ in OBJECTS:
            held = self.held()
            self.pairs = {(key, holder) for key, holder in self.pairs if holder in PROCESSES or holder in held}

    @invariant()
    def it_knows_who_holds_what(self):
        for key in OBJECTS:
            assert set(self.holders.of(key)) == {holder for held, holder in self.pairs if held == key}


TestAnyHolders = AnyHolders.TestCase
TestAnyHolders.settings = tries(300, steps=50)


def test_the_last_holder_frees_it_and_what_it_held():
    holders = Holders()
    holders.hold("inner", "outer")
    holders.hold("outer", "a")
    holders.hold("outer", "b")
    assert holders.release("outer", "a") == []
    assert holders.release("outer", "a") == []
    assert holders.drop("b") == ["outer", "inner"]
    assert list(holders.of("inner")) == []


def test_a_long_chain_goes_with_its_first_link():
    holders = Holders()
    holders.hold(0, "process")
    for number in range(1, 5000):
        holders.hold(number, number - 1)
    assert holders.release(0, "process") == list(range(5000))
