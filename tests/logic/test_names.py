"""Names of actors: one actor has each, whatever is claimed and freed; and what is kept gives the same names again."""

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from distpool.logic.names import Names
from distpool.protocol.names import NamedActor
from distpool.protocol.records import NameKept

AWAY_UNTIL = 60.0
LIVES, NUMBERS = st.integers(1, 3), st.integers(1, 3)
NAMES, NAMESPACES = st.sampled_from(["a", "b"]), st.sampled_from(["jobs", "others"])


class NamesMachine(RuleBasedStateMachine):
    """Against a dictionary. `kept`: what a ledger has of it."""

    def __init__(self):
        super().__init__()
        self.names = Names([], AWAY_UNTIL)
        self.model = {}
        self.kept = {}

    def keep(self, records):
        for record in records:
            if isinstance(record, NameKept):
                self.kept[record.actor.namespace, record.actor.name] = record.actor
            else:
                del self.kept[record.namespace, record.name]

    @rule(life=LIVES, number=NUMBERS, name=NAMES, namespace=NAMESPACES, port=st.integers(1, 2))
    def claim(self, life, number, name, namespace, port):
        actor = NamedActor(namespace, name, f"tcp://there:{port}", "key", number, "Model", b"", False, life, "program")
        known = self.model.get((namespace, name))
        if known is None or (known.life, known.actor) == (life, number):
            self.model[namespace, name] = actor
        found, records = self.names.claim(actor)
        assert found == self.model[namespace, name]
        self.keep(records)

    @rule(life=LIVES, number=NUMBERS, name=NAMES, namespace=NAMESPACES)
    def free(self, life, number, name, namespace):
        known = self.model.get((namespace, name))
        if known is not None and (known.life, known.actor) == (life, number):
            del self.model[namespace, name]
        self.keep(self.names.free(namespace, name, life, number))

    @rule(life=LIVES)
    def program_gone(self, life):
        self.model = {key: actor for key, actor in self.model.items() if actor.life != life}
        self.keep(self.names.program_gone(life))

    @rule(back=st.sets(LIVES))
    def another_head(self, back):
        self.names = Names(self.kept.values(), AWAY_UNTIL)
        assert self.names.away_until == (AWAY_UNTIL if self.model else None)
        assert list(self.names) == list(self.kept.values())
        self.model = {key: actor for key, actor in self.model.items() if actor.life in back}
        self.keep(self.names.forget_absent(back))
        assert self.names.away_until is None

    @invariant()
    def is_as_the_model(self):
        assert {(actor.namespace, actor.name): actor for actor in self.names} == self.model == self.kept
        assert len(self.names) == len(self.model)
        for namespace in ("jobs", "others"):
            others = tuple(sorted(name for space, name in self.model if space == namespace))
            assert self.names.others(namespace) == others
            for name in ("a", "b"):
                assert self.names.find(namespace, name) == self.model.get((namespace, name))


TestNames = NamesMachine.TestCase
TestNames.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_program_may_have_so_many_names_and_no_more():
    actor = NamedActor("jobs", "name", "tcp://there:1", "key", 1, "Model", b"", False, 1, "program")
    names = Names([msgspec.structs.replace(actor, name=f"name {number}") for number in range(10_000)], AWAY_UNTIL)
    assert "has 10000 actors with names already" in names.refusal(actor)
    assert names.refusal(msgspec.structs.replace(actor, life=2)) == ""
