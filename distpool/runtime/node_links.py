"""A cluster's nodes by their links: in a driver's loop they stand for its node."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from distpool.base_errors import ProtocolError
from distpool.config import Settings
from distpool.ids import CLIENT, HEAD, LAUNCHER, Address, GroupId, LeaseId, NodeId
from distpool.logic.link import LinkLimits
from distpool.logic.outbox import Outbox
from distpool.logic.silence import Silence
from distpool.protocol.cluster import (
    FromWorker,
    HeadSilent,
    LeaveCluster,
    NodeGone,
    OpenGroup,
    Refused,
    Rejoined,
    Welcome,
    WorkerSaid,
)
from distpool.protocol.code import (
    CodePiece,
    NeedCode,
)
from distpool.protocol.messages import GroupGone, LeaseLost, LeaseStarted, Message, StopGroup
from distpool.protocol.objects import ForeignKept, WantTransfers
from distpool.protocol.rights import CALLER_MAY_HEAR
from distpool.protocol.standing import StatusTold
from distpool.protocol.store import StoredResult
from distpool.protocol.transfers import Place
from distpool.roles.nodes import NodesRole
from distpool.runtime.addresses import is_endpoint
from distpool.runtime.channels import Channels
from distpool.runtime.far_crew import FarCrew
from distpool.runtime.far_objects import FarObjects, NodeStore
from distpool.runtime.far_results import FarResults
from distpool.runtime.hosting import RemoteHead
from distpool.runtime.labels import Labels
from distpool.runtime.links import ClientLink
from distpool.runtime.packages import Package
from distpool.runtime.programs import OF_HEAD
from distpool.transport.keys import Identity
from distpool.transport.sockets import Connection

_log = logging.getLogger("distpool")

_HERE = (CLIENT, HEAD, LAUNCHER)


class NodeLinks:
    """Owned by whoever holds the driver's loop."""

    def __init__(self, identity: Identity, head: RemoteHead, settings: Settings, labels: Labels) -> None:
        """`head`: which this process has greeted, and whose silence it watches."""
        self.outbox = Outbox()
        self.crews: dict[GroupId, FarCrew] = {}
        self.package: Package | None = None
        """The code of this program, which nodes ask for piece by piece."""
        self.status: StatusTold | None = None
        """What the head has said last when it was asked."""
        self._role = NodesRole()
        self.node_of = self._role.node_of
        """Where the worker of a lease is; None when it has ended."""
        self._identity = identity
        self._head = head
        self._greeting = head.greeting
        self._silence = Silence(settings.silence_limit_s, settings.beat_every_s)
        self._is_head_silent = self._is_refused = False
        self._long_silence = Silence(settings.head_gone_limit_s, settings.beat_every_s)
        self._is_head_gone = False
        self._settings = settings
        self._limits = LinkLimits(beat_every_s=settings.beat_every_s)
        self._links: dict[NodeId, ClientLink] = {}
        self._endpoints: dict[NodeId, str] = {}
        channels = Channels(identity, head.greeting.life.to_bytes(8, "little"))
        self.objects = FarObjects(channels, settings, self._say)
        self.results = FarResults(self.objects, self._say, settings.lineage_limit_bytes)
        self._labels = labels
        self._is_closed = False
        self._watch: Callable[[int], None] = _watch_nothing
        self.programs: Callable[[Any, float], None] = lambda message, now: None
        """Hears what the head says of other programs."""

    def open(self, plan: OpenGroup, crew: FarCrew) -> None:
        """A group whose workers will be on nodes."""
        self._role.open(plan)
        self.crews[plan.group] = crew

    def nearness(self, lease: LeaseId, claim: Any) -> int:
        """How many bytes of what a claim names lie on the node of a lease."""
        return self.objects.bytes_at(self._role.node_of(lease), claim)

    def name_tasks(self, results: Message) -> None:
        """See `FarResults.name_tasks`."""
        self.results.name_tasks(results)

    def holds_of(self, lease: LeaseId, told: StoredResult) -> list[Any]:
        """What keeps the objects that something names which the worker of a lease has told."""
        node = self._role.node_of(lease)
        made = [] if node is None else self.objects.made_on(node, told.named)
        return [*made, *self.objects.keep(told.foreign)]

    def attach(self, watch: Callable[[int], None]) -> None:
        self._watch = watch
        self.objects.transfers.channels.attach(watch)

    def has_some(self) -> bool:
        return self.objects.transfers.channels.has_some() or any(link.has_some() for link in self._links.values())

    def pass_on(self, lease: LeaseId, message: Any) -> None:
        self._role.pass_on(lease, message)

    def obey(self, message: Any, now: float) -> None:
        if isinstance(message, StopGroup) and message.kill:
            self.results.group_ended(message.group, self._role.leases_of(message.group))
        self._role.obey(message)
        self._sort(now)

    def handle(self, sender: Address, message: Any, now: float) -> None:
        """What the head says."""
        if isinstance(message, StatusTold):
            self.status = message
            return
        if isinstance(message, OF_HEAD):
            self.programs(message, now)
            if not isinstance(message, Rejoined):
                return
        self._role.handle(HEAD, message, now)
        if self._role.refusal:
            _log.warning("the head refuses this program, which gets no new workers: %s", self._role.refusal)
            self._tell_no_workers(
                f"the head at {self._head.connection.endpoint} refuses this program: {self._role.refusal}", now
            )
            self._is_refused = True
            self._role.refusal = ""
        elif self._is_refused and isinstance(message, Welcome):
            self._is_refused = False
            self._role.handle(HEAD, HeadSilent(""), now)
        self._sort(now)

    def _tell_no_workers(self, why: str, now: float) -> None:
        """Calls of pools that have a worker go on; those that wait for a first one end."""
        self._role.handle(HEAD, HeadSilent(f"this pool has no worker, and gets none: {why}"), now)

    def receive(self, now: float) -> None:
        for name, link in list(self._links.items()):
            for message in link.receive(now):
                if not link.refusal:
                    self._hear(name, link, message, now)
            self._sort(now)
            is_silent = now - link.link.heard_at > self._settings.silence_limit_s
            if link.refusal:
                self._role.hear(name, Refused(link.refusal))
            elif is_silent or link.link.is_unknown or self._is_gone(link):
                self._role.handle(HEAD, NodeGone(name), now)
        self.objects.receive(now)
        self._watch_head(now)
        self._sort(now)

    def _hear(self, name: NodeId, link: ClientLink, message: Any, now: float) -> None:
        match message:
            case Welcome(transfers=endpoint, store=store):
                if not is_endpoint(endpoint):
                    link.refuse("a Welcome without an address for transfers")
                elif name in self._role.nodes:
                    self.objects.joined(name, NodeStore(Place(endpoint, self._role.nodes[name].public), store))
            case WantTransfers():
                self.objects.connect(name)
            case ForeignKept(lease) if self._role.node_of(lease) == name:
                self.objects.worker_keeps(message)
            case ForeignKept():
                pass  # its worker has ended meanwhile
            case NeedCode():
                self._say(name, self._piece(message))
            case _:
                try:
                    self._role.hear(name, message)
                except ProtocolError as error:
                    link.refuse(str(error))

    def _piece(self, needed: NeedCode) -> CodePiece:
        package = self.package
        is_known = package is not None and needed.package == package.hash and 0 <= needed.offset < package.size
        data = package.piece(needed.offset) if package is not None and is_known else b""
        return CodePiece(needed.package, needed.offset, data)

    def _watch_head(self, now: float) -> None:
        heard_at, where = self._head.heard_at, self._head.connection.endpoint
        is_silent = self._silence.is_for_good(heard_at, now)
        if is_silent != self._is_head_silent:
            self._is_head_silent = is_silent
            state = "not heard of: pools go on with the workers that they have" if is_silent else "there again"
            _log.warning("the head at %s is %s", where, state)
        is_gone = self._long_silence.is_for_good(heard_at, now)
        if is_gone == self._is_head_gone:
            return
        self._is_head_gone = is_gone
        if not is_gone:
            self._role.handle(HEAD, HeadSilent(""), now)
            return
        limit_s = self._settings.head_gone_limit_s
        remedy = "Start it again at this address, and make a new pool"
        self._tell_no_workers(f"the head at {where} was not heard of for {limit_s:g} s. {remedy}", now)

    def _is_gone(self, link: ClientLink) -> bool:
        """Whether a connection that has broken shows that its node has ended."""
        return link.connection.is_broken() and link.connection.is_refused()

    def decide(self, now: float) -> float | None:
        return None

    def flush(self, now: float) -> float | None:
        self._sort(now)
        wake_at = self.objects.flush(now)
        self._sort(now)
        for link in self._links.values():
            due = link.flush(now)
            silent_at = link.link.heard_at + self._settings.silence_limit_s
            due = silent_at if due is None else min(due, silent_at)
            wake_at = due if wake_at is None else min(due, wake_at)
        return wake_at

    def close(self) -> None:
        """Leave all nodes."""
        self._is_closed = True
        self.objects.close()
        for link in self._links.values():
            link.send(LeaveCluster())
            link.flush(0.0)
            link.close(_LEAVE_MS)
        self._links.clear()

    def _sort(self, now: float) -> None:
        """What is for this process, and what for a node. Nodes that are gone are let go of."""
        messages = self._role.outbox.messages
        while messages:
            to, message = messages.popleft()
            if to == CLIENT:
                self._for_client(message, now)
            elif to in _HERE:
                self.outbox.put(to, message)
            elif not self._is_closed:
                self._link(NodeId(str(to)), now).send(message)
        for name in [name for name in self._links if name not in self._role.nodes]:
            self._links.pop(name).close()
            del self._endpoints[name]
            self.results.node_gone(name)
            self.objects.node_gone(name, now)
        for lease, message in self.results.heard():
            self._note(message)
            self.outbox.put(CLIENT, message if lease is None else WorkerSaid(lease, message))  # type: ignore[arg-type]

    def _for_client(self, message: Any, now: float) -> None:
        match message:
            case FromWorker(lease, node=node):
                self._from_worker(lease, NodeId(node), message, now)
            case LeaseLost(lease):
                self.objects.worker_ended(lease)
                self.results.said(lease, None, message, now)
            case GroupGone():
                self.results.group_gone(message)
            case _:
                self._note(message)
                self.outbox.put(CLIENT, message)

    def _from_worker(self, lease: LeaseId, node: NodeId, told: FromWorker, now: float) -> None:
        link = self._links.get(node)
        if link is None or link.refusal:
            return
        try:
            message = self._labels.open(told)
            self._role.check(lease, message)
            self.results.said(lease, node, message, now)
        except ProtocolError as error:
            link.refuse(str(error))

    def _say(self, name: NodeId, message: Message) -> None:
        """To a node, if it is still there."""
        if name in self._links and not self._is_closed:
            self._links[name].send(message)

    def _link(self, name: NodeId, now: float) -> ClientLink:
        link = self._links.get(name)
        node = self._role.nodes.get(name)
        if link is not None and node is not None and self._endpoints[name] != node.endpoint:
            link.close()  # it is another process of the same name
            link = None
            self.results.node_gone(name)
            self.objects.node_gone(name, now)
        if link is None:
            node = self._role.nodes[name]
            route = self._greeting.life.to_bytes(8, "little")
            self._endpoints[name] = node.endpoint
            connection = Connection(node.endpoint, route, self._identity, node.public)
            link = self._links[name] = ClientLink(connection, self._limits, now, CALLER_MAY_HEAR)
            for descriptor in connection.descriptors():
                self._watch(descriptor)
            link.send(self._greeting)
        return link

    def _note(self, message: Any) -> None:
        """For those who look at the workers of a pool."""
        match message:
            case LeaseStarted(lease, group):
                if group in self.crews:
                    self.crews[group].started(lease)
            case GroupGone(group):
                self.crews.pop(group, None)
            case LeaseLost(lease, group, death):
                self._labels.forget(lease)
                if group in self.crews:
                    self.crews[group].ended(lease, death)


_LEAVE_MS = 200


def _watch_nothing(descriptor: int) -> None:
    pass
