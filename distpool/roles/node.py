"""The node: owns the workers of a machine. It passes leases on to its launcher and tells of their beginning and end.

A lease of a caller elsewhere begins when the head has granted it and the caller has asked for it, in whatever order.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

import msgspec

from distpool.ids import CLIENT, HEAD, LAUNCHER, Address, GroupId, LeaseId, NodeId
from distpool.logic.outbox import Outbox
from distpool.protocol.cluster import EndGroup, LetIn, Refused, Rejoined, RevokeLease, UseLease, Welcome
from distpool.protocol.messages import (
    Death,
    EndWorker,
    GrantLease,
    GroupGone,
    LeaseLost,
    LeaseStarted,
    RegisterNode,
    ReturnLease,
    StartWorker,
    WorkerExited,
)
from distpool.roles.role import unexpected

_UNUSED = Death(0, -9)
_GRANT_LIMIT_S = 5.0


class GrantState(Enum):
    """How far the lease of a caller elsewhere is."""

    GRANTED = auto()
    """The head has placed it here; its caller has not asked for it yet."""
    ASKED = auto()
    """Its caller has asked for it, and the head has yet to say that it may."""
    STARTED = auto()
    """There is a worker, or will be."""


class Grant(msgspec.Struct):
    """The lease of a caller elsewhere."""

    state: GrantState
    group: GroupId
    caller: int
    since: float


class NodeRole:
    """Starts workers for granted leases."""

    def __init__(self, node: NodeId, cpus: int, memory_bytes: int = 0, endpoint: str = "", public: str = "") -> None:
        self.outbox = Outbox()
        self.refusal = ""
        """Why the head does not want this node."""
        self._registration = RegisterNode(node, cpus, memory_bytes, endpoint, public)
        self._grants: dict[LeaseId, Grant] = {}
        self.outbox.put(HEAD, self._registration)

    def handle(self, sender: Address, message: Any, now: float) -> None:
        match message:
            case GrantLease(lease, group, 0):
                self._start(lease, group)
            case GrantLease(lease, group, caller):
                self._meet(lease, Grant(GrantState.GRANTED, group, caller, now))
            case UseLease(lease, group, caller):
                self._meet(lease, Grant(GrantState.ASKED, group, caller, now))
            case RevokeLease(lease):
                self._revoke(lease)
            case WorkerExited(lease, group, death):
                self._grants.pop(lease, None)
                self.outbox.put(HEAD, ReturnLease(lease))
                self.outbox.put(CLIENT, LeaseLost(lease, group, death))
            case GroupGone() | LetIn():
                self.outbox.put(CLIENT, message)
            case EndGroup(group):
                self._forget_asked(group)
            case Rejoined():
                self._register_again()
            case Welcome():
                pass
            case Refused(text):
                self.refusal = text
            case _:
                raise unexpected("node", sender, message)

    def decide(self, now: float) -> float | None:
        """Leases that were asked for and not granted in time: the head has forgotten them."""
        wake_at = None
        for lease, grant in list(self._grants.items()):
            if grant.state is GrantState.ASKED:
                due = grant.since + _GRANT_LIMIT_S
                if now >= due:
                    del self._grants[lease]
                    self._tell_unused(lease, grant)
                else:
                    wake_at = due if wake_at is None else min(due, wake_at)
        return wake_at

    def _start(self, lease: LeaseId, group: GroupId) -> None:
        self.outbox.put(LAUNCHER, StartWorker(lease, group))
        self.outbox.put(CLIENT, LeaseStarted(lease, group))

    def _meet(self, lease: LeaseId, new: Grant) -> None:
        """One of the two has said its word."""
        old = self._grants.setdefault(lease, new)
        if old is new or old.state is GrantState.STARTED:
            return
        if old.state is not new.state and (old.group, old.caller) == (new.group, new.caller):
            old.state = GrantState.STARTED
            self._start(lease, new.group)

    def _revoke(self, lease: LeaseId) -> None:
        grant = self._grants.get(lease)
        if grant is None:
            self.outbox.put(HEAD, ReturnLease(lease))
        elif grant.state is GrantState.STARTED:
            self.outbox.put(LAUNCHER, EndWorker(lease, grant.group, 0.0))
        else:
            del self._grants[lease]
            self.outbox.put(HEAD, ReturnLease(lease))
            if grant.state is GrantState.ASKED:
                self._tell_unused(lease, grant)

    def _tell_unused(self, lease: LeaseId, grant: Grant) -> None:
        """Its caller waits for a worker, and gets none by this lease."""
        self.outbox.put(CLIENT, LeaseStarted(lease, grant.group))
        self.outbox.put(CLIENT, LeaseLost(lease, grant.group, _UNUSED))

    def _forget_asked(self, group: GroupId) -> None:
        """Its caller gives up all leases of a group that has ended: none may get a worker in the next of that name."""
        for lease, grant in list(self._grants.items()):
            if grant.group == group and grant.state is GrantState.ASKED:
                del self._grants[lease]

    def _register_again(self) -> None:
        """With a head that does not know this node, or not any more: what it does not learn now it does not know."""
        for lease in [lease for lease, grant in self._grants.items() if grant.state is GrantState.GRANTED]:
            del self._grants[lease]
        leases = [(lease, grant.caller) for lease, grant in self._grants.items() if grant.state is GrantState.STARTED]
        self.outbox.put(HEAD, msgspec.structs.replace(self._registration, leases=leases))
