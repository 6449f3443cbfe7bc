"""Who has what of a cluster, and waits for what."""

from collections import Counter

from distpool.ids import NodeId
from distpool.logic.membership import Member
from distpool.logic.standing import callers_told, held_told
from distpool.protocol.standing import CallerFacts, HeldFacts

ONE, TWO = NodeId("one"), NodeId("two")
MEMBERS = {"a": Member("ann", 1, 10.0), "b": Member("bob", 2, 12.0)}
HELD = Counter({(TWO, 1): 3, (ONE, 1): 2, (ONE, 9): 1})


def test_of_each_caller_its_leases_are_counted_over_all_nodes():
    assert callers_told(MEMBERS, HELD, {"b": 4}, 20.0) == [
        CallerFacts("ann", 5, 0, 10.0),
        CallerFacts("bob", 0, 4, 8.0),
    ]


def test_leases_are_told_by_node_and_holder_and_one_that_is_not_there_has_no_name():
    assert held_told(MEMBERS.values(), HELD) == [
        HeldFacts(ONE, "", 1),
        HeldFacts(ONE, "ann", 2),
        HeldFacts(TWO, "ann", 3),
    ]
