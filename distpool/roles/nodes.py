"""The nodes of a cluster, in the place of a client's own: where its leases are, and what goes to which node.

An address is a node's name. A node that is lost takes its leases with it; the client is told so as by the node itself.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from distpool.base_errors import ProtocolError
from distpool.ids import CLIENT, HEAD, Address, GroupId, LeaseId, NodeId
from distpool.logic.outbox import Outbox
from distpool.logic.shown import shown_lines
from distpool.protocol.cluster import (
    EndGroup,
    FromWorker,
    HeadSilent,
    LeaseDrains,
    LeaseGranted,
    LeaseUnused,
    NodeDrains,
    NodeGone,
    OpenGroup,
    Refused,
    Rejoined,
    RequestsDropped,
    ToWorker,
    UseLease,
    Welcome,
)
from distpool.protocol.code import (
    GroupFailed,
)
from distpool.protocol.codec import encode
from distpool.protocol.messages import (
    CallMode,
    CallsDone,
    Death,
    EndWorker,
    GroupGone,
    InterruptWorker,
    LeaseLost,
    LeaseStarted,
    OutcomeKind,
    ReturnLease,
    RunCalls,
    StopGroup,
    StreamItems,
    TakeBack,
    TakenBack,
    WorkerReady,
    WorkerUnusable,
)
from distpool.protocol.objects import BringSoon
from distpool.roles.role import unexpected

_NODE_LOST = -9
_TOLD = frozenset({OutcomeKind.VALUE, OutcomeKind.ERROR, OutcomeKind.STORED})
"""What may become of a call on a node; all else is told by this process itself."""
_TOLD_OF_ACTORS = _TOLD | {OutcomeKind.EXITED}


class Node(msgspec.Struct):
    """One that has leases of this client. `opened`: the groups that have a template there. `is_draining`: it is to
    leave when its leases are over."""

    endpoint: str
    public: str
    opened: set[GroupId] = msgspec.field(default_factory=set)
    is_draining: bool = False


class RemoteLease(msgspec.Struct):
    """A lease on a node: how many calls were sent for it in all, and how many of them have ended or were taken back.
    `beside`: the numbers of those that run beside each other and have not ended, of `numbered` in all. `asked`: how
    often it was asked to give calls back, and has not answered. `may_exit`: it is an actor's."""

    group: GroupId
    node: NodeId
    sent: int = 0
    over: int = 0
    beside: set[int] = msgspec.field(default_factory=set)
    numbered: int = 0
    asked: int = 0
    may_exit: bool = False
    is_started: bool = False
    is_ready: bool = False


class NodesRole:
    """Has the interface of a node role, so that the client's loop cannot tell."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.nodes: dict[NodeId, Node] = {}
        self.refusal = ""
        """Why the head does not want this process."""
        self._plans: dict[GroupId, OpenGroup] = {}
        self._leases: dict[LeaseId, RemoteLease] = {}
        self._stopping: set[GroupId] = set()

    def open(self, plan: OpenGroup) -> None:
        """A group whose leases will be on nodes."""
        self._plans[plan.group] = plan

    def node_of(self, lease: LeaseId) -> NodeId | None:
        """Where the lease is; None when it has ended."""
        held = self._leases.get(lease)
        return None if held is None else held.node

    def leases_of(self, group: GroupId) -> list[LeaseId]:
        return [lease for lease, held in self._leases.items() if held.group == group]

    def decide(self, now: float) -> float | None:
        return None

    # From this process ----------------------------------------------------------------------------------------------

    def pass_on(self, lease: LeaseId, message: Any) -> None:
        """What the client says to a worker. One that is lost is told of in a moment."""
        held = self._leases.get(lease)
        if held is None:
            return
        if isinstance(message, RunCalls):
            for piece in message.slices:
                held.sent += piece.count
                if piece.mode == CallMode.BESIDE:
                    held.beside.update(range(held.numbered, held.numbered + piece.count))
                    held.numbered += piece.count
        elif isinstance(message, TakeBack):
            held.asked += 1
        elif isinstance(message, BringSoon):
            self.outbox.put(held.node, message)
            return
        self.outbox.put(held.node, ToWorker(lease, b"".join(encode(message))))

    def obey(self, message: Any) -> None:
        """What the client says to its launcher."""
        match message:
            case StopGroup(group):
                if group in self._plans:  # otherwise it has ended already
                    self._stop(group, message)
            case EndWorker(lease) | InterruptWorker(lease):
                held = self._leases.get(lease)
                if held is not None:
                    self.outbox.put(held.node, message)
            case _:
                raise unexpected("nodes", CLIENT, message)

    def _stop(self, group: GroupId, message: StopGroup) -> None:
        self._stopping.add(group)
        self.outbox.put(HEAD, EndGroup(group))
        for name, node in self.nodes.items():
            if group in node.opened:
                self.outbox.put(name, message)
        self._end_if_gone(group)

    # From the head and the nodes ------------------------------------------------------------------------------------

    def handle(self, sender: Address, message: Any, now: float) -> None:
        """What the head has said, or the links of this process."""
        match message:
            case LeaseGranted():
                self._granted(message)
            case NodeGone(node):
                self._node_gone(node)
            case Rejoined():
                self.outbox.put(CLIENT, Rejoined(self._granted_not_started()))
            case NodeDrains(node):
                self._drain(node)
            case HeadSilent():
                self.outbox.put(CLIENT, message)
            case Welcome():
                pass
            case Refused(text):
                self.refusal = shown_lines(text)
            case _:
                raise unexpected("nodes", sender, message)

    def hear(self, name: NodeId, message: Any) -> None:
        """What a node has said. Of leases that are over nothing is heard. Raises ProtocolError for what it cannot have
        to say."""
        node = self.nodes.get(name)
        if node is None:
            return
        match message:
            case LeaseStarted(lease, group):
                if (held := self._on(name, lease, group)) is not None:
                    _require(not held.is_started, "a lease that has started")
                    held.is_started = True
                    self.outbox.put(CLIENT, message)
                    if node.is_draining:
                        self.outbox.put(CLIENT, LeaseDrains(lease))
            case LeaseUnused(lease, group):
                if (held := self._on(name, lease, group)) is not None:
                    _require(not held.is_started, "a lease that has started")
                    self._let_go(lease)
            case LeaseLost(lease, group):
                if (held := self._on(name, lease, group)) is not None:
                    self._lost(lease, held, message)
            case FromWorker(lease, frame):
                if (held := self._on(name, lease)) is not None:
                    _require(held.is_started, "a worker that has not started")
                    self.outbox.put(CLIENT, FromWorker(lease, frame, name))
            case GroupGone(group) if group in node.opened:
                node.opened.discard(group)
                self._group_gone(group, name)
            case GroupFailed(group, text) if group in node.opened:
                self._fail(group, name, text)
            case GroupGone() | GroupFailed():
                pass  # it has ended there
            case Refused(text):
                for group in node.opened:
                    self._fail(group, name, text)
                self._node_gone(name)
            case _:
                raise unexpected("nodes", name, message)

    def check(self, lease: LeaseId, message: Any) -> None:
        """Before what its worker has said is believed. Raises ProtocolError for what no worker has to say."""
        held = self._leases.get(lease)
        if held is None:
            return
        match message:
            case WorkerReady() | WorkerUnusable():
                _require(not held.is_ready, "a worker that is ready")
                held.is_ready = isinstance(message, WorkerReady)
            case CallsDone(outcomes, busy_s, _, numbers):
                named = set(numbers)
                is_sent = len(named) in (0, len(outcomes)) and len(named) == len(numbers) and named <= held.beside
                held.beside -= named
                held.over += len(outcomes)
                _require(
                    is_sent and held.over + len(held.beside) <= held.sent and busy_s >= 0.0, "calls that were not sent"
                )
                told = _TOLD_OF_ACTORS if held.may_exit else _TOLD
                _require(all(kind in told for kind, _ in outcomes), "an outcome that is none")
            case StreamItems(first=first, outcomes=outcomes):
                _require(first >= 0 and all(kind in _TOLD for kind, _ in outcomes), "an item that is none")
            case TakenBack(calls):
                held.asked -= 1
                held.over += calls
                _require(held.asked >= 0 <= calls and held.over <= held.sent, "calls that were not asked back")

    def _on(self, name: NodeId, lease: LeaseId, group: GroupId | None = None) -> RemoteLease | None:
        """A lease of that node, unless it is over."""
        held = self._leases.get(lease)
        if held is not None:
            _require(held.node == name and group in (None, held.group), "a lease that is not its own")
        return held

    def _fail(self, group: GroupId, node: NodeId, text: str) -> None:
        if group in self._plans:
            self.outbox.put(CLIENT, GroupFailed(group, f"on node {str(node)!r} {text}"))

    def _granted(self, granted: LeaseGranted) -> None:
        group = granted.group
        if group not in self._plans or group in self._stopping:
            self.outbox.put(HEAD, ReturnLease(granted.lease))
            return
        known = self.nodes.get(granted.node)
        if known is not None and known.endpoint != granted.endpoint:
            self._node_gone(granted.node)  # another process has its name now
        node = self.nodes.setdefault(granted.node, Node(granted.endpoint, granted.public))
        # Only actors share templates.
        may_exit = bool(self._plans[group].shares)
        self._leases[granted.lease] = RemoteLease(group, granted.node, may_exit=may_exit)
        if group not in node.opened:
            node.opened.add(group)
            self.outbox.put(granted.node, self._plans[group])
        self.outbox.put(granted.node, UseLease(granted.lease, group))

    def _granted_not_started(self) -> dict[GroupId, int]:
        return dict(Counter(held.group for held in self._leases.values() if not held.is_started))

    def _lost(self, lease: LeaseId, held: RemoteLease, message: LeaseLost) -> None:
        del self._leases[lease]
        death = message.death
        # What was on its way had not begun either.
        unbegun = min(max(0, death.unbegun) + max(0, held.sent - message.received), max(0, held.sent - held.over))
        death = msgspec.structs.replace(death, unbegun=unbegun, items_begun=max(0, death.items_begun))
        self._tell_lost(lease, held, death)

    def _tell_lost(self, lease: LeaseId, held: RemoteLease, death: Death) -> None:
        if not held.is_started:
            self.outbox.put(CLIENT, LeaseStarted(lease, held.group))
        self.outbox.put(CLIENT, LeaseLost(lease, held.group, death))

    def _group_gone(self, group: GroupId, node: NodeId) -> None:
        """A group's template on a node has ended, and no worker is left there: because it was told to, or by itself."""
        for lease in [lease for lease, held in self._leases.items() if (held.group, held.node) == (group, node)]:
            self._give_up(lease, node)
        self._end_if_gone(group)

    def _node_gone(self, name: NodeId) -> None:
        """All calls that its workers held may have begun, but for those that had not left yet: nobody knows. To the
        head it may still be there."""
        node = self.nodes.pop(name, None)
        if node is None:
            return
        for lease, held in [(lease, held) for lease, held in self._leases.items() if held.node == name]:
            if held.is_started:
                self._give_up(lease, name)
            else:  # there was no worker, and so none has failed
                self._let_go(lease)
        for group in node.opened:
            self._end_if_gone(group)

    def _give_up(self, lease: LeaseId, node: NodeId) -> None:
        """What its worker did is not known. The head may still have the node, where nobody takes up this lease now."""
        self.outbox.put(HEAD, ReturnLease(lease))
        self._tell_lost(lease, self._leases.pop(lease), Death(0, _NODE_LOST, node=node))

    def _let_go(self, lease: LeaseId) -> None:
        """It is none, or nobody is there. The head's word for it may yet come to the node, which would keep it."""
        self.outbox.put(HEAD, ReturnLease(lease))
        self.outbox.put(CLIENT, RequestsDropped(self._leases.pop(lease).group, 1))

    def _drain(self, name: NodeId) -> None:
        """It is about to leave: so are the workers there."""
        node = self.nodes.get(name)
        if node is None or node.is_draining:
            return
        node.is_draining = True
        for lease, held in self._leases.items():
            if held.node == name and held.is_started:
                self.outbox.put(CLIENT, LeaseDrains(lease))

    def _end_if_gone(self, group: GroupId) -> None:
        if group in self._stopping and not any(group in node.opened for node in self.nodes.values()):
            self._stopping.discard(group)
            del self._plans[group]
            self.outbox.put(CLIENT, GroupGone(group))


def _require(is_so: bool, what: str) -> None:
    if not is_so:
        raise ProtocolError(f"it tells of {what}")
