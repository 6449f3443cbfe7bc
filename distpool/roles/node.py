"""The node: owns the workers of a machine. It passes leases on to its launcher and tells of their beginning and end.

A lease of a caller elsewhere begins when the head has granted it and the caller has asked for it, in whatever order.
"""

from __future__ import annotations

import math
from enum import Enum, auto
from typing import Any

import msgspec

from distpool.ids import CLIENT, HEAD, LAUNCHER, Address, GroupId, LeaseId, NodeId
from distpool.logic.outbox import Outbox
from distpool.logic.recovery import epoch_of
from distpool.logic.shown import shown_lines
from distpool.protocol.cluster import (
    AskLog,
    AskStacks,
    DrainNode,
    EndGroup,
    LeaseUnused,
    LetIn,
    Refused,
    Rejoined,
    RevokeLease,
    UseLease,
    WantToLeave,
    Welcome,
)
from distpool.protocol.devices import Device
from distpool.protocol.messages import (
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
from distpool.protocol.placing import LeaseWaits
from distpool.protocol.resources import NODE_WORKER, Claim, Offer, Shape
from distpool.roles.role import unexpected

_GRANT_LIMIT_S = 5.0


class GrantState(Enum):
    """How far the lease of a caller elsewhere is."""

    GRANTED = auto()
    """The head has placed it here; its caller has not asked for it yet."""
    ASKED = auto()
    """Somebody has asked for it, and the head has yet to say whose it is."""
    STARTED = auto()
    """There is a worker, or will be."""


class Grant(msgspec.Struct):
    """The lease of a caller elsewhere. `shape`, `devices`: what the head has granted. `waits`: for others."""

    state: GrantState
    group: GroupId
    caller: int
    since: float
    shape: Shape = NODE_WORKER
    devices: tuple[int, ...] = ()
    waits: bool = False


class NodeRole:
    """Starts workers for granted leases."""

    def __init__(self, node: NodeId, offer: Offer, endpoint: str = "", public: str = "", log: str = "") -> None:
        self.outbox = Outbox()
        self.refusal = ""
        """Why the head does not want this node."""
        self._registration = RegisterNode(
            node,
            offer.cpus,
            offer.memory_bytes,
            endpoint,
            public,
            log=log,
            devices=offer.devices,
            custom=offer.custom,
            labels=offer.labels,
        )
        self.is_over = False
        """It was to leave, and nothing is left that it would have to wait for."""
        self._lease_epoch = 0
        # It is to leave: at what time at the latest; and the head has said that no more leases will come.
        self._leave_by: float | None = None
        self._is_drained = False
        # What the head has placed here; and what was asked for before, by those who have: not all need speak the truth.
        self._grants: dict[LeaseId, Grant] = {}
        self._asked: dict[tuple[LeaseId, int], Grant] = {}
        # Of callers in this process.
        self._own: dict[LeaseId, GroupId] = {}
        self.outbox.put(HEAD, self._registration)

    def handle(self, sender: Address, message: Any, now: float) -> None:
        match message:
            case GrantLease(lease, group, 0, shape, devices) if not self._registration.endpoint:
                self._own[lease] = group
                self._start(lease, group, shape, devices)
            case DrainNode(_, limit_s):
                self._is_drained = True
                self._set_limit(limit_s, now)
            case GrantLease(lease, group, caller, shape, devices):
                self._meet(lease, Grant(GrantState.GRANTED, group, caller, now, shape, devices))
            case UseLease(lease, group, caller):
                self._meet(lease, Grant(GrantState.ASKED, group, caller, now))
            case LeaseWaits(lease, waits):
                if lease in self._grants:
                    self._grants[lease].waits = waits
            case RevokeLease(lease):
                self._revoke(lease)
            case WorkerExited(lease, group, death):
                self._grants.pop(lease, None)
                self._own.pop(lease, None)
                self.outbox.put(HEAD, ReturnLease(lease))
                self.outbox.put(CLIENT, LeaseLost(lease, group, death))
            case GroupGone(group):
                self._own = {lease: whose for lease, whose in self._own.items() if whose != group}
                self.outbox.put(CLIENT, message)
            case LetIn() | AskLog() | AskStacks():
                self.outbox.put(CLIENT, message)
            case EndGroup(group):
                self._forget_asked(group)
            case Rejoined():
                self._register_again(now)
            case Welcome():
                self._lease_epoch = message.lease_epoch
            case Refused(text):
                self.refusal = shown_lines(text)
            case _:
                raise unexpected("node", sender, message)

    def decide(self, now: float) -> float | None:
        """Leases that were asked for and not granted in time: the head has forgotten them."""
        wake_at = None
        if self._leave_by is not None:
            self.is_over = (self._is_drained and not (self._grants or self._asked)) or now >= self._leave_by
            wake_at = self._leave_by if self._leave_by < math.inf else None
        for key, asked in list(self._asked.items()):
            due = asked.since + _GRANT_LIMIT_S
            if now >= due:
                self._refuse(key)
            else:
                wake_at = due if wake_at is None else min(due, wake_at)
        return wake_at

    def has_devices(self, devices: tuple[Device, ...]) -> None:
        """They were looked for now that somebody wants some."""
        if devices != self._registration.devices:
            self._registration = msgspec.structs.replace(self._registration, devices=devices)
            self.outbox.put(HEAD, self._registration)

    def is_used(self) -> bool:
        """Somebody elsewhere has a worker here, or is about to."""
        return bool(self._asked) or any(grant.state is not GrantState.GRANTED for grant in self._grants.values())

    def is_leaving(self) -> bool:
        return self._leave_by is not None

    def leave(self, limit_s: float, now: float) -> None:
        """By a wish from this machine: let calls finish for so long, without new ones."""
        self._set_limit(limit_s, now)
        self.outbox.put(HEAD, WantToLeave(limit_s))

    def _set_limit(self, limit_s: float, now: float) -> None:
        """Of several, the earliest counts."""
        new = now + limit_s if limit_s > 0 else math.inf
        self._leave_by = new if self._leave_by is None else min(new, self._leave_by)

    def _start(self, lease: LeaseId, group: GroupId, shape: Shape, devices: tuple[int, ...]) -> None:
        self.outbox.put(LAUNCHER, StartWorker(lease, group, shape, devices))
        self.outbox.put(CLIENT, LeaseStarted(lease, group))

    def _meet(self, lease: LeaseId, new: Grant) -> None:
        """One of the two has said its word."""
        granted = self._grants.get(lease)
        asked = self._asked.get((lease, new.caller))
        if new.state is GrantState.GRANTED:
            if granted is None:
                granted = self._grants[lease] = new
        elif granted is None and epoch_of(lease) == self._lease_epoch:
            asked = self._asked.setdefault((lease, new.caller), new)
        elif granted is None or (granted.group, granted.caller) != (new.group, new.caller):
            self.outbox.put(CLIENT, LeaseUnused(lease, new.group))  # by a head that is no more, or another's
        else:
            asked = new
        if granted is None or asked is None or granted.caller != asked.caller:
            return
        self._asked.pop((lease, new.caller), None)
        if granted.group == asked.group and granted.state is GrantState.GRANTED:
            granted.state = GrantState.STARTED
            self._start(lease, granted.group, granted.shape, granted.devices)

    def _refuse(self, key: tuple[LeaseId, int]) -> None:
        """What was asked for is none."""
        self.outbox.put(CLIENT, LeaseUnused(key[0], self._asked.pop(key).group))

    def _revoke(self, lease: LeaseId) -> None:
        grant = self._grants.get(lease)
        if lease in self._own:
            self.outbox.put(LAUNCHER, EndWorker(lease, self._own[lease], 0.0))
            return
        if grant is not None and grant.state is GrantState.STARTED:
            self.outbox.put(LAUNCHER, EndWorker(lease, grant.group, 0.0))
            return
        self._grants.pop(lease, None)
        self.outbox.put(HEAD, ReturnLease(lease))
        for key in [key for key in self._asked if key[0] == lease]:
            self._refuse(key)

    def _forget_asked(self, group: GroupId) -> None:
        """Its caller gives up all leases of a group that has ended: none may get a worker in the next of that name."""
        for key in [key for key, asked in self._asked.items() if asked.group == group]:
            del self._asked[key]

    def _register_again(self, now: float) -> None:
        """With a head that does not know this node, or not any more: what it does not learn now it does not know."""
        # What it has not both granted and been asked for is nobody's: callers ask for new ones.
        for lease in [lease for lease, grant in self._grants.items() if grant.state is GrantState.GRANTED]:
            del self._grants[lease]
        for key in list(self._asked):
            self._refuse(key)
        leases = [
            Claim(lease, grant.caller, grant.shape, grant.devices, grant.waits) for lease, grant in self._grants.items()
        ]
        self.outbox.put(HEAD, msgspec.structs.replace(self._registration, leases=leases))
        if self._leave_by is not None:
            limit_s = self._leave_by - now if self._leave_by < math.inf else 0.0
            self.outbox.put(HEAD, WantToLeave(limit_s))
