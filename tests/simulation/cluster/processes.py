"""The processes of a cluster, each with its loop: head, nodes and drivers over the real roles, links and stand-ins.

A loop here does what `runtime.loop` does in a turn; only sockets, lanes, templates and workers are pretended.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock

from distpool.config import Settings
from distpool.ids import CLIENT, HEAD, LAUNCHER, NODE, Address, Epoch, GroupId, LeaseId, NodeId
from distpool.logic.membership import Versions
from distpool.logic.times import earlier
from distpool.protocol.cluster import LeaveCluster, LetIn, OpenGroup, Refused, Welcome, WorkerSaid
from distpool.protocol.code import DropSupplies
from distpool.protocol.messages import (
    Death,
    GroupGone,
    LeaseLost,
    Message,
    RunCalls,
    StartWorker,
    StopGroup,
    WorkerExited,
)
from distpool.protocol.resources import UNIT, Offer, Shape
from distpool.roles.client import ClientRole
from distpool.roles.node import NodeRole
from distpool.runtime import caller_links, hosting, links, node_links
from distpool.runtime.caller_links import CallerLinks
from distpool.runtime.hosting import HeadHost, RemoteHead
from distpool.runtime.labels import Labels
from distpool.runtime.node_links import NodeLinks
from distpool.transport.keys import Allowed
from tests.simulation.cluster.network import PretendConnection, PretendIdentity, PretendListener
from tests.simulation.hands import Hands
from tests.simulation.templates import PretendLauncher
from tests.simulation.transcript import Violation, numbers

if TYPE_CHECKING:
    from tests.simulation.cluster.world import ClusterWorld

ROUNDS_LIMIT = 100
HEAD_ENDPOINT = "tcp://head:7117"
LEAVE_LIMIT_S = 1.0
NEVER = float("inf")
VERSIONS = Versions(1, "3.11", "simulated")


@contextmanager
def pretended_sockets(world: ClusterWorld) -> Iterator[None]:
    """Whatever the runtime connects or listens to meanwhile is pretended, and its random numbers are seeded."""

    def connection(endpoint: str, route: bytes, identity: PretendIdentity, *servers: str) -> PretendConnection:
        return PretendConnection(world.network, endpoint, route, identity)

    def listener(endpoint: str, identity: PretendIdentity, find: Callable[[str], Allowed | None]) -> PretendListener:
        return PretendListener(world.network, identity.public, find)

    def new_epoch() -> Epoch:
        return Epoch(world.rng.getrandbits(56) + 1)

    with ExitStack() as stack:
        for module, replaced in (
            (hosting, {"Connection": connection, "new_epoch": new_epoch, "own_versions": lambda: VERSIONS}),
            (node_links, {"Connection": connection}),
            (
                caller_links,
                {
                    "Listener": listener,
                    "Supplier": PretendSupplier,
                    "new_epoch": new_epoch,
                    "own_versions": lambda: VERSIONS,
                },
            ),
            (links, {"new_epoch": new_epoch}),
        ):
            stack.enter_context(mock.patch.multiple(module, **replaced))
        yield


class PretendSupplier:
    """No group here needs code, or anything else that has to be made ready."""

    descriptor = -1

    def __init__(self, settings: Settings) -> None:
        pass

    def handle(self, message: Message) -> None:
        if not isinstance(message, DropSupplies):
            raise Violation("supplies", f"nobody needs {message}")

    def has_answers(self) -> bool:
        return False

    def take_answers(self) -> list[Message]:
        return []


class PretendKeys:
    """Of a head: who is let in, and a key that stays."""

    changes_at = NEVER

    def __init__(self, world: ClusterWorld) -> None:
        self._world = world
        self._told: list[Allowed] = []

    def news_of_members(self) -> LetIn | None:
        members = list(self._world.members.values())
        if members == self._told:
            return None
        self._told = members
        return LetIn([(member.public, member.part.value, member.name) for member in members])

    def news_of_key(self, now: float) -> None:
        return None


class Process:
    """One with a loop. `host`: its machine, and its key."""

    def __init__(self, world: ClusterWorld, host: str) -> None:
        self.host = host
        self.has_news = True
        self.is_alive = True
        self.held_until = world.now
        """It is stopped, or runs something else until then."""
        self.is_stopped = False
        self._stopped_until = world.now
        self.wake_at: float | None = None
        self.world = world
        world.processes[host] = self

    def __str__(self) -> str:
        return self.host

    def due_at(self) -> float:
        """When the loop has something to do and comes to it."""
        if self.has_news:
            return self.held_until
        due = earlier(self.wake_at, self.hands_due_at())
        return NEVER if due is None else max(due, self.held_until)

    def hands_due_at(self) -> float | None:
        """When there is something to read that is of no socket."""
        return None

    def run_turn(self) -> None:
        self.has_news = False
        self.held_until = self.world.now + self.world.delay()
        self.turn()

    def turn(self) -> None:
        raise NotImplementedError

    def stop(self, for_s: float) -> None:
        """SIGSTOP, and SIGCONT later."""
        self.world.tell(self, "", f"is stopped for {for_s:g} s")
        self.is_stopped = True
        self._stopped_until = self.held_until = self.world.now + for_s
        self.world.network.is_silent(self.host, for_s)
        self.world.after(for_s, self._go_on)

    def _go_on(self) -> None:
        self.is_stopped = self.world.now < self._stopped_until
        if not self.is_stopped:
            self.world.tell(self, "", "goes on")
            self.world.network.may_end(self.host)

    def be_busy(self, for_s: float) -> None:
        """It does something else than turns: a program that holds the interpreter's lock."""
        self.world.tell(self, "", f"is busy for {for_s:g} s")
        self.held_until = self.world.now + for_s

    def kill(self, why: str = "is killed") -> None:
        if self.is_alive:
            self.world.tell(self, "", why)
            self.is_alive = False
            self.world.network.kill(self.host)
            del self.world.processes[self.host]


class HeadProcess(Process):
    """`distpool head`."""

    def __init__(self, world: ClusterWorld) -> None:
        super().__init__(world, "head")
        listener = PretendListener(world.network, self.host, self._find)
        self.hosted = HeadHost(listener, world.settings, world.now, PretendKeys(world))  # type: ignore[arg-type]
        self.role = self.hosted.role

    def _find(self, public: str) -> Allowed | None:
        return self.world.members.get(public)

    def turn(self) -> None:
        self.wake_at = self.hosted.turn(self.world.now)


class LoopProcess(Process):
    """One that hosts roles of its own, and stand-ins for those of others."""

    def __init__(self, world: ClusterWorld, host: str, head: RemoteHead, node: Any, client: Any) -> None:
        super().__init__(world, host)
        self.head = head
        self.node = node
        self.client = client
        self._stand_ins = [role for role in (head, node, client) if hasattr(role, "flush")]
        self._leaves_by: float | None = None
        self._joins_by = world.now + world.settings.connect_limit_s
        self.has_joined = False

    def leave(self) -> None:
        """End as one does that has time to say so."""
        self.head.handle("", LeaveCluster(), self.world.now)
        self._leaves_by = self.world.now + LEAVE_LIMIT_S
        self.has_news = True

    def turn(self) -> None:
        now = self.world.now
        if not self.has_joined:
            self._join()
        if self.has_joined and self._leaves_by is None:
            self.work()
        if not self.has_joined or self._leaves_by is None:
            return
        self.head.receive(now)
        self.wake_at = earlier(self._leaves_by, self.head.flush(now))
        if self.head.is_settled() or now >= self._leaves_by:
            self.kill("has left")

    def _join(self) -> None:
        """As `runtime.joining` does it, before there is anything else."""
        now = self.world.now
        self.head.receive(now)
        self.wake_at = earlier(self._joins_by, self.head.flush(now))
        said = [message for _, message in self.head.outbox.messages]
        self.has_joined = any(isinstance(message, Welcome) for message in said)
        if not self.has_joined and (now >= self._joins_by or any(isinstance(message, Refused) for message in said)):
            self.kill("could not join")

    def work(self) -> None:
        raise NotImplementedError

    def to_worker(self, lease: LeaseId, message: Message) -> None:
        raise NotImplementedError

    def to_launcher(self, message: Message) -> None:
        raise NotImplementedError

    def to_client(self, sender: Address, message: Message) -> None:
        self.client.handle(sender, message, self.world.now)

    def decide(self) -> None:
        now = self.world.now
        self._hand_over()
        for stand_in in self._stand_ins:
            stand_in.receive(now)
        self._hand_over()
        for _ in range(ROUNDS_LIMIT):
            self.wake_at = earlier(self.client.decide(now), self.node.decide(now))
            self.head.decide(now)
            if not self._hand_over():
                break
        else:
            raise Violation("no rest", f"the roles of {self} go on without any news")
        for stand_in in self._stand_ins:
            self.wake_at = earlier(self.wake_at, stand_in.flush(now))

    def _hand_over(self) -> bool:
        """Empty the outboxes: whether there was anything but calls for workers."""
        was_busy = False
        is_busy = True
        while is_busy:
            is_busy = False
            for name, role in ((NODE, self.node), (HEAD, self.head), (CLIENT, self.client)):
                messages = role.outbox.messages
                while messages:
                    to, message = messages.popleft()
                    self._deliver(name, to, message)
                    is_busy = is_busy or not isinstance(message, RunCalls)
            was_busy = was_busy or is_busy
        return was_busy

    def _deliver(self, sender: Address, to: Address, message: Message) -> None:
        if isinstance(to, int):
            self.to_worker(LeaseId(to), message)
        elif to == LAUNCHER:
            self.to_launcher(message)
        elif to == CLIENT:
            self.to_client(sender, message)
        else:
            (self.node if to == NODE else self.head).handle(sender, message, self.world.now)


class NodeLauncher(PretendLauncher):
    """A node's, which opens groups for callers elsewhere. `failing`: how often it cannot."""

    def __init__(self, world: ClusterWorld, node: NodeProcess, failing: float) -> None:
        super().__init__(world, partial(world.new_worker, node))
        self._cluster = world
        self._failing = failing
        # What each worker was given.
        self._devices: dict[LeaseId, tuple[Shape, tuple[int, ...]]] = {}

    def handle(self, message: Message) -> list[Message]:
        match message:
            case StartWorker(lease, group, shape, devices) if group in self.crews:
                self._give(lease, shape, devices)
            case OpenGroup(group, size):
                if group in self.crews:
                    raise Violation("opened twice", f"group {group} has a template already")
                if self._cluster.draws(self._failing):
                    return [GroupGone(group)]
                self.open(group, size)
                self._cluster.templates.append(self.crews[group].template)
                return []
            case StopGroup(group) if group in self.crews and self.crews[group].stops_heard:
                return []  # by its caller, who is gone since then
        return super().handle(message)

    def _give(self, lease: LeaseId, shape: Shape, devices: tuple[int, ...]) -> None:
        """No part of a device is in two hands, and each worker has what it was to have."""
        if len(devices) != -(-shape.gpus // UNIT):
            raise Violation("a worker without devices", f"lease {lease} has {devices}, and needs {shape.gpus}")
        self._devices[lease] = (shape, devices)
        alive = {one for crew in self.crews.values() for one in crew.workers}
        used: Counter[int] = Counter()
        for held, positions in (self._devices[one] for one in [*alive, lease] if one in self._devices):
            used.update(dict.fromkeys(positions, min(held.gpus, UNIT)))
        if any(share > UNIT for share in used.values()):
            raise Violation("a device in two hands", f"lease {lease} has {devices}; in use are {dict(used)}")


class NodeProcess(LoopProcess):
    """`distpool node`."""

    def __init__(self, world: ClusterWorld, host: str, name: str, cpus: int, failing: float) -> None:
        head = RemoteHead(HEAD_ENDPOINT, name, world.settings, world.now, PretendIdentity(host))  # type: ignore[arg-type]
        callers = CallerLinks(f"tcp://{host}:0", PretendIdentity(host), name, world.settings)  # type: ignore[arg-type]
        role = NodeRole(NodeId(name), Offer(cpus, devices=world.devices), callers.listener.endpoint, host)
        super().__init__(world, host, head, role, callers)
        self.name = name
        self.cpus = cpus
        self.callers = callers._role
        self.launcher = NodeLauncher(world, self, failing)
        self.hands = Hands(world, self.launcher, self._hear, callers.held_by)

    def hands_due_at(self) -> float | None:
        return self.hands.news_at() if self.has_joined and self._leaves_by is None else None

    def kill(self, why: str = "is killed") -> None:
        super().kill(why)
        for crew in self.launcher.crews.values():
            if not crew.template.has_ended:
                crew.template.be_killed()

    def work(self) -> None:
        self.hands.read(self._read_template)
        self.world.slip()
        self.decide()
        if self.node.refusal:
            self.kill(f"is refused: {self.node.refusal}")

    def _hear(self, lease: LeaseId, message: Message) -> None:
        self.client.handle(lease, message, self.world.now)

    def _read_template(self, group: GroupId) -> None:
        for message in self.launcher.receive(group):
            if isinstance(message, WorkerExited):
                message = WorkerExited(message.lease, message.group, self.hands.bury(message.lease, message.death))
            self.node.handle(LAUNCHER, message, self.world.now)

    def to_worker(self, lease: LeaseId, message: Message) -> None:
        self.hands.send(lease, message)

    def to_launcher(self, message: Message) -> None:
        for answer in self.launcher.handle(message):
            self.node.handle(LAUNCHER, answer, self.world.now)


class WatchedCrew:
    """In the place of `FarCrew`: what a driver is told of its workers."""

    def __init__(self, world: ClusterWorld) -> None:
        self._world = world

    def started(self, lease: LeaseId) -> None:
        pass

    def ended(self, lease: LeaseId, death: Death) -> None:
        self._world.ledger.given_up(lease, is_exact=not death.node)


class DriverProcess(LoopProcess):
    """A program that uses the cluster."""

    def __init__(self, world: ClusterWorld, host: str) -> None:
        head = RemoteHead(HEAD_ENDPOINT, host, world.settings, world.now, PretendIdentity(host))  # type: ignore[arg-type]
        nodes = NodeLinks(PretendIdentity(host), head, world.settings, Labels(is_on=False))  # type: ignore[arg-type]
        super().__init__(world, host, head, nodes, ClientRole(world.settings))
        self.mailbox: deque[Callable[[], None]] = deque()
        self.is_done = False
        """Its program has ended all its pools."""

    def post(self, action: Callable[[], None]) -> None:
        """Have this done in the next turn."""
        self.mailbox.append(action)
        self.has_news = True

    def work(self) -> None:
        while self.mailbox:
            self.mailbox.popleft()()
        self.decide()
        completions = self.client.outbox.completions
        while completions:
            bundle, first, outcomes = completions.popleft()
            bundle.sink.deliver(first, outcomes)
        self.client.outbox.notes.clear()
        if self.is_done and not self.client.groups:
            self.node.close()
            self.leave()

    def to_worker(self, lease: LeaseId, message: Message) -> None:
        if isinstance(message, RunCalls):
            self.world.ledger.sent(lease, [n for piece in message.slices for n in numbers(piece)])
        self.node.pass_on(lease, message)

    def to_launcher(self, message: Message) -> None:
        self.node.obey(message)

    def to_client(self, sender: Address, message: Message) -> None:
        if isinstance(message, WorkerSaid):
            sender, message = message.lease, message.message
        elif isinstance(message, LeaseLost):
            self.world.tell("nodes", self, message)
        self.client.handle(sender, message, self.world.now)
