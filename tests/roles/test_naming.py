"""What a head says of the names of actors: to programs that claim them, look for them, leave and come back."""

import msgspec
import pytest

from distpool.config import SETTINGS
from distpool.logic.membership import Membership, Versions
from distpool.protocol.cluster import AskStatus, Greeting, LeaveCluster, LetIn, Listens, PeerLost, Refused
from distpool.protocol.names import ClaimName, FindName, FreeName, NamedActor, NameTold
from distpool.protocol.records import Kept, NameForgotten, NameKept
from distpool.roles.head import HeadRole

VERSIONS = Versions(1, "3.11", "0.1.0")
LET_IN = LetIn([("key", "driver", "somebody")])


def actor(number, name="model", namespace="jobs", **more):
    return NamedActor(namespace, name, "tcp://first:1", "key", number, "Model", b"traits", **more)


def owned(number, life, **more):
    return msgspec.structs.replace(actor(number, **more), life=life, program=f"process {life}")


@pytest.fixture
def head():
    made = HeadRole(Membership(VERSIONS), 77, now=10.0)
    for life in (1, 2):
        greet(made, f"link {life}", life)
    return made


def greet(head, link, life, now=11.0):
    head.handle(link, Greeting(f"process {life}", life, *VERSIONS), now)
    told(head)


def told(head):
    messages = list(head.outbox.messages)
    head.outbox.messages.clear()
    return messages


def asked(head, link, question):
    head.handle(link, question, 12.0)
    return [message for to, message in told(head) if to == link]


def restarted(head, now=100.0):
    """The head after this one, which has found all that was kept."""
    names = {}
    for record in head.records:
        if isinstance(record, NameKept):
            names[record.actor.namespace, record.actor.name] = record.actor
        elif isinstance(record, NameForgotten):
            del names[record.namespace, record.name]
    return HeadRole(Membership(VERSIONS), 78, now, kept=Kept(78, names=list(names.values())))


def test_of_two_that_claim_a_name_the_first_has_it_and_both_are_told_who(head):
    assert asked(head, "link 1", ClaimName(5, actor(3))) == [NameTold(5, owned(3, 1))]
    assert asked(head, "link 2", ClaimName(5, actor(3))) == [NameTold(5, owned(3, 1))]
    assert asked(head, "link 1", ClaimName(6, actor(4))) == [NameTold(6, owned(3, 1))]
    assert asked(head, "link 1", ClaimName(7, actor(3))) == [NameTold(7, owned(3, 1))], "said twice"
    assert head.records == [NameKept(owned(3, 1))]
    assert asked(head, "link 2", ClaimName(8, actor(9, namespace="others"))) == [
        NameTold(8, owned(9, 2, namespace="others"))
    ]


def test_who_owns_an_actor_is_what_the_head_knows_and_not_what_is_said(head):
    (answer,) = asked(head, "link 2", ClaimName(1, actor(3, life=1, program="process 1")))
    assert answer == NameTold(1, owned(3, 2))


def test_a_name_is_freed_by_its_owner_for_this_actor_only(head):
    asked(head, "link 1", ClaimName(1, actor(3)))
    for link, free in (("link 2", 3), ("link 1", 4)):
        assert asked(head, link, FreeName("jobs", "model", free)) == []
        assert asked(head, link, FindName(2, "jobs", "model")) == [NameTold(2, owned(3, 1))]
    asked(head, "link 1", FreeName("jobs", "model", 3))
    assert asked(head, "link 2", FindName(2, "jobs", "model")) == [NameTold(2)]
    assert head.records[1:] == [NameForgotten("jobs", "model")]


def test_who_looks_for_what_is_not_there_is_told_what_is(head):
    for number, name in enumerate(["b", "a", "c"]):
        asked(head, "link 1", ClaimName(number, actor(number, name=name)))
    asked(head, "link 1", ClaimName(9, actor(9, name="d", namespace="others")))
    assert asked(head, "link 2", FindName(1, "jobs", "model")) == [NameTold(1, None, ("a", "b", "c"))]


@pytest.mark.parametrize("end", [PeerLost(), LeaveCluster()])
def test_the_names_of_a_program_end_with_it(head, end):
    asked(head, "link 1", ClaimName(1, actor(3)))
    asked(head, "link 2", ClaimName(2, actor(3, name="other")))
    head.handle("link 1", end, 13.0)
    assert asked(head, "link 2", FindName(1, "jobs", "model")) == [NameTold(1, None, ("other",))]


def test_a_program_with_a_new_link_keeps_its_names(head):
    asked(head, "link 1", ClaimName(1, actor(3)))
    greet(head, "link 3", 1)
    assert asked(head, "link 2", FindName(1, "jobs", "model")) == [NameTold(1, owned(3, 1))]
    assert asked(head, "link 3", ClaimName(1, actor(3))) == [NameTold(1, owned(3, 1))]


def test_who_listens_hears_who_may_come_before_anybody_hears_of_it_and_others_do_not(head):
    head.let_in(LET_IN)
    assert told(head) == []
    head.handle("link 1", Listens(), 12.0)
    assert asked(head, "link 1", ClaimName(1, actor(3))) == [LET_IN, NameTold(1, owned(3, 1))]
    assert asked(head, "link 1", Listens()) == [LET_IN]
    head.let_in(LetIn([]))
    assert told(head) == [("link 1", LetIn([]))]
    head.handle("link 1", LeaveCluster(), 13.0)
    head.let_in(LET_IN)
    assert told(head) == []


def test_the_next_head_knows_the_names_and_forgets_those_whose_program_does_not_come_back(head):
    asked(head, "link 1", ClaimName(1, actor(3)))
    asked(head, "link 2", ClaimName(1, actor(4, name="other")))
    asked(head, "link 1", ClaimName(2, actor(5, name="freed")))
    asked(head, "link 1", FreeName("jobs", "freed", 5))
    following = restarted(head)
    greet(following, "link 3", 3)
    # Neither has come back: their names are theirs all the same.
    assert asked(following, "link 3", ClaimName(1, actor(1))) == [NameTold(1, owned(3, 1))]
    assert [facts.state for facts in asked(following, "link 3", AskStatus())[0].actors] == ["away", "away"]
    greet(following, "link 9", 1)
    until = following.decide(101.0)
    assert until == 100.0 + SETTINGS.head_gone_limit_s
    assert following.decide(until) is None
    assert asked(following, "link 3", FindName(2, "jobs", "other")) == [NameTold(2, None, ("model",))]
    assert following.records == [NameForgotten("jobs", "other")]
    # What it has said to the head before, it says to this one too.
    assert asked(following, "link 9", ClaimName(0, actor(3))) == [NameTold(0, owned(3, 1))]


def test_who_has_not_greeted_is_told_nothing(head):
    for question in (ClaimName(1, actor(3)), FindName(1, "jobs", "model")):
        (answer,) = asked(head, "a stranger", question)
        assert isinstance(answer, Refused)
    for said in (FreeName("jobs", "model", 3), Listens()):
        assert asked(head, "a stranger", said) == []
    head.let_in(LET_IN)
    assert told(head) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"namespace": ""},
        {"name": "x" * 257},
        {"name": "\x1b[2J"},
        {"class_name": "a\nb"},
        {"traits": b"x" * 300_000},
    ],
)
def test_names_that_no_actor_can_have_are_refused(head, wrong):
    (answer,) = asked(head, "link 1", ClaimName(1, msgspec.structs.replace(actor(3), **wrong)))
    assert answer.actor is None
    assert "characters" in answer.refusal
    assert head.records == []
