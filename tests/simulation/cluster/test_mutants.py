"""Does the cluster's simulation notice? Small mistakes planted into the real roles and links must be caught.

`seed` is where the search begins, one that catches the mistake: the others follow, should it no longer do so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from unittest import mock

import msgspec
import pytest

from distpool.logic.link import Link
from distpool.logic.request_queue import RequestQueue
from distpool.logic.requests import Requests
from distpool.logic.resources import Room
from distpool.protocol.cluster import EndGroup, UseLease
from distpool.protocol.messages import Death, GroupGone, LeaseLost, ReturnLease
from distpool.roles.callers import CallersRole
from distpool.roles.head import HeadRole
from distpool.roles.leasing import Leasing
from distpool.roles.node import GrantState, NodeRole
from distpool.roles.nodes import NodesRole
from distpool.runtime.links import ServerLinks
from tests.simulation.cluster.scenario import ClusterScenario
from tests.simulation.transcript import Violation

SEEDS = 500
TRIES = 150

receive = Link.receive
ask_again = Requests.ask_again
callers_handle = CallersRole.handle
callers_hear = CallersRole.hear
head_handle = HeadRole.handle
forget_member = HeadRole._forget
register = HeadRole._register
count = Room._count
give_back = Room.give_back
meet = NodeRole._meet
register_again = NodeRole._register_again
lease_lost = NodesRole._lost
give_up = NodesRole._give_up


# Links ----------------------------------------------------------------------------------------------------------------


def receive_takes_what_came_twice(self, header, payload, now):
    if header.receiver == self.epoch and 0 < header.number == self._delivered:
        self._delivered -= 1
    return receive(self, header, payload, now)


def receive_does_not_mind_a_gap(self, header, payload, now):
    if header.receiver == self.epoch and header.number > self._delivered:
        self._delivered = header.number - 1
    return receive(self, header, payload, now)


def never_sends_again(self):
    self._resend_at = None


def server_says_nothing_to_strangers(self, route, header):
    pass


def server_loses_nobody(self, peer):
    return float("inf")


# Head -----------------------------------------------------------------------------------------------------------------


def head_keeps_requests_of_groups_that_end(self, sender, message, now):
    if not isinstance(message, EndGroup):
        head_handle(self, sender, message, now)


def head_keeps_requests_of_those_who_are_gone(self, caller, group=None):
    return 0


def head_forgets_a_member_without_its_leases(self, sender, *, is_lost):
    with mock.patch.object(Leasing, "revoke"):
        forget_member(self, sender, is_lost=is_lost)


def head_does_not_hear_that_a_caller_returns_a_lease(self, sender, lease):
    node = self.placement.node_of(lease)
    if node is not None and self._nodes.links[node] == sender:
        self.callers.pop(lease, None)
        self.placement.free(lease)
        self.waiting.over(lease)


def head_does_not_hear_what_a_node_has(self, sender, message):
    register(self, sender, msgspec.structs.replace(message, leases=[]))


def room_counts_one_for_two(self, lease, taken):
    count(self, lease, taken)
    if lease % 2:
        self.free_cpus += taken.shape.cpus


def room_frees_twice(self, lease):
    cpus = self.held[lease].shape.cpus if lease in self.held else 0
    is_news = give_back(self, lease)
    self.free_cpus += cpus
    return is_news


# Node -----------------------------------------------------------------------------------------------------------------


def node_starts_what_is_granted(self, lease, new):
    """Though its caller has not asked for it."""
    if new.state is GrantState.GRANTED:
        meet(self, lease, msgspec.structs.replace(new, state=GrantState.ASKED))
    meet(self, lease, new)


def node_starts_what_is_asked_for(self, lease, new):
    """Though the head has not granted it."""
    if new.state is GrantState.ASKED:
        meet(self, lease, msgspec.structs.replace(new, state=GrantState.GRANTED))
    meet(self, lease, new)


def node_keeps_what_is_revoked(self, lease):
    pass


def node_waits_for_ever_for_a_grant(self, now):
    return None


def node_forgets_to_say_what_it_has(self, now):
    register_again(self, now)
    to, message = self.outbox.messages.pop()
    self.outbox.put(to, msgspec.structs.replace(message, leases=[]))


def node_keeps_grants_of_an_earlier_head(self, now):
    grants = dict(self._grants)
    register_again(self, now)
    self._grants = grants


# A node's callers -----------------------------------------------------------------------------------------------------


def callers_do_not_count_what_has_come(self, sender, message, now):
    if isinstance(message, LeaseLost):
        self._held[message.lease].received = 0
    callers_handle(self, sender, message, now)


def callers_leave_workers_of_one_who_is_gone(self, caller):
    self._membership.remove(caller)


def callers_keep_their_groups(self, sender, message, now):
    if isinstance(message, GroupGone):
        self._tell(message.group, message)
    else:
        callers_handle(self, sender, message, now)


def callers_do_not_hear_that_a_lease_is_used(self, sender, message, now):
    if not (isinstance(message, UseLease) and message.lease % 4 == 0):
        callers_hear(self, sender, message, now)


# Nodes, at a driver ---------------------------------------------------------------------------------------------------


def nodes_count_nothing_as_received(self, lease, held, message):
    lease_lost(self, lease, held, msgspec.structs.replace(message, received=0))


def nodes_keep_what_they_give_up(self, lease, node):
    with mock.patch.object(type(self.outbox), "put", put_all_but_returns):
        give_up(self, lease, node)


def put_all_but_returns(self, to, message):
    if not isinstance(message, ReturnLease):
        self.messages.append((to, message))


def nodes_lose_leases_in_silence(self, lease, node):
    del self._leases[lease]


def nodes_take_all_for_unbegun(self, lease, node):
    """What the workers of a lost node held may have begun."""
    held = self._leases.pop(lease)
    self._tell_lost(lease, held, Death(0, -9, unbegun=held.sent, node=node))


def nodes_do_not_ask_again(self, granted, outbox):
    pass


def nodes_ask_for_what_is_granted(self, granted, outbox):
    ask_again(self, 0, outbox)


@dataclass(frozen=True)
class Mutant:
    """A mistake: `owner`'s `name` is replaced. `caught_by`: the rules that may notice first."""

    owner: object
    name: str
    mistake: Callable
    caught_by: tuple[str, ...]
    seed: int = 0

    def __str__(self) -> str:
        return self.mistake.__name__


MUTANTS = [
    Mutant(Link, "receive", receive_takes_what_came_twice, ("began twice", "raised"), 0),
    Mutant(
        Link,
        "receive",
        receive_does_not_mind_a_gap,
        ("result of another call", "unknown function", "never ends", "raised"),
        0,
    ),
    Mutant(Link, "_send_again", never_sends_again, ("never ends", "ended without a reason"), 0),
    Mutant(ServerLinks, "_say_unknown", server_says_nothing_to_strangers, ("never ends",), 1),
    Mutant(ServerLinks, "_lost_at", server_loses_nobody, ("never ends",), 2),
    Mutant(HeadRole, "handle", head_keeps_requests_of_groups_that_end, ("never ends",), 5),
    Mutant(RequestQueue, "drop", head_keeps_requests_of_those_who_are_gone, ("never ends",), 5),
    Mutant(HeadRole, "_forget", head_forgets_a_member_without_its_leases, ("never ends",), 78),
    Mutant(Leasing, "returned", head_does_not_hear_that_a_caller_returns_a_lease, ("never ends",), 11),
    Mutant(HeadRole, "_register", head_does_not_hear_what_a_node_has, ("over capacity", "never ends"), 1),
    Mutant(Room, "_count", room_counts_one_for_two, ("over capacity",), 1),
    Mutant(Room, "give_back", room_frees_twice, ("over capacity",), 0),
    Mutant(NodeRole, "_meet", node_starts_what_is_granted, ("ended without a reason", "never ends"), 1),
    Mutant(NodeRole, "_meet", node_starts_what_is_asked_for, ("never ends", "over capacity"), 16),
    Mutant(NodeRole, "_revoke", node_keeps_what_is_revoked, ("never ends",), 11),
    Mutant(NodeRole, "decide", node_waits_for_ever_for_a_grant, ("never ends",), 169),
    Mutant(NodeRole, "_register_again", node_forgets_to_say_what_it_has, ("over capacity", "never ends"), 1),
    Mutant(NodeRole, "_register_again", node_keeps_grants_of_an_earlier_head, ("never ends", "over capacity"), 25),
    Mutant(CallersRole, "handle", callers_do_not_count_what_has_come, ("began too often", "began twice"), 11),
    Mutant(CallersRole, "_forget", callers_leave_workers_of_one_who_is_gone, ("never ends", "opened twice"), 22),
    Mutant(CallersRole, "handle", callers_keep_their_groups, ("never ends",), 0),
    Mutant(CallersRole, "hear", callers_do_not_hear_that_a_lease_is_used, ("never ends",), 0),
    Mutant(NodesRole, "_lost", nodes_count_nothing_as_received, ("began too often", "began twice"), 11),
    Mutant(NodesRole, "_give_up", nodes_keep_what_they_give_up, ("never ends",), 11),
    Mutant(NodesRole, "_give_up", nodes_lose_leases_in_silence, ("never ends",), 2),
    Mutant(NodesRole, "_give_up", nodes_take_all_for_unbegun, ("began too often", "began twice", "never ends"), 11),
    Mutant(Requests, "ask_again", nodes_do_not_ask_again, ("never ends",), 4),
    Mutant(Requests, "ask_again", nodes_ask_for_what_is_granted, ("never ends",), 169),
]


def run_seeds(first):
    for number in range(TRIES):
        ClusterScenario((first + number) % SEEDS).run()


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_planted_mistake_is_caught(mutant, monkeypatch):
    monkeypatch.setattr(mutant.owner, mutant.name, mutant.mistake)
    with pytest.raises(Violation) as caught:
        run_seeds(mutant.seed)
    assert caught.value.rule in mutant.caught_by, str(caught.value)
    assert "seed " in str(caught.value)
