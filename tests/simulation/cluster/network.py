"""A pretended network: connections that keep their order, take their time, and are cut, lost and made again.

    PretendConnection ── up ──► Wire ──► PretendListener
                      ◄─ down ─      ◄─

They have the interfaces of `transport.sockets`, so that the real links run over them. What is on its way when a
connection ends may be lost, as with ZeroMQ; a socket may drop or repeat what it is given.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from distpool.protocol.codec import decode_header
from distpool.transport.keys import Allowed, Part
from distpool.transport.sockets import Incoming
from tests.simulation.cluster.words import Words

if TYPE_CHECKING:
    from tests.simulation.cluster.world import ClusterWorld

Frames = list[bytes]
Find = Callable[[str], Allowed | None]

HEARTBEAT_S = (1.5, 2.0)
"""After so long without an answer a listener ends a connection; answers come while a process lives and is not stopped,
whatever its loop does."""
RECONNECT_S = (0.05, 0.5)


class PretendIdentity(NamedTuple):
    """Who a process is: its host stands for its key. `head`: the key of the head."""

    public: str
    part: Part = Part.DRIVER
    head: str = "head"
    next_head: str = ""


class Pipe:
    """One direction of a connection. None in it is its end."""

    def __init__(self, network: Network, source: str, target: str, deliver: Callable[[Frames | None], None]) -> None:
        self.direction = (source, target)
        self.number = network.pipes_made = network.pipes_made + 1
        self._network = network
        self._deliver = deliver
        self._queue: deque[tuple[float, Frames | None]] = deque()
        self._last_at = 0.0

    def push(self, frames: Frames | None) -> None:
        self._last_at = max(self._last_at, self._network.world.now + self._network.latency())
        self._queue.append((self._last_at, frames))
        self._network.world.after(self._last_at - self._network.world.now, self.pump)

    def pump(self) -> None:
        """Deliver what is due, unless the cable is cut."""
        while self._queue and self._queue[0][0] <= self._network.world.now and self._network.is_open(*self.direction):
            self._deliver(self._queue.popleft()[1])
        if self._queue and not self._network.is_open(*self.direction):
            self._network.blocked.add(self)

    def lose_some(self) -> None:
        """Of what is on its way a part will not arrive."""
        for _ in range(self._network.world.rng.randint(0, len(self._queue))):
            self._queue.pop()


class Wire:
    """One connection that was made. `number`: as the listener's process numbers it."""

    def __init__(self, network: Network, connection: PretendConnection, listener: PretendListener) -> None:
        self.number = listener.free_number()
        self.connection: PretendConnection | None = connection
        self.listener: PretendListener | None = listener
        self.route = connection.route
        self.key = connection.key
        client, server = connection.host, listener.host
        self.up = Pipe(network, client, server, self._to_server)
        self.down = Pipe(network, server, client, self._to_client)

    def _to_server(self, frames: Frames | None) -> None:
        if self.listener is None:
            return
        if frames is None:
            self.end_at_server()
        else:
            self.listener.take(Incoming(self.route, self.key, frames, self.number))  # type: ignore[arg-type]

    def _to_client(self, frames: Frames | None) -> None:
        if self.connection is None:
            return
        if frames is None:
            connection, self.connection = self.connection, None
            connection.broke()
        else:
            self.connection.take(frames)

    def end_at_server(self, *, is_killed: bool = False) -> None:
        """The listener's process gives the connection up, or ends itself."""
        listener, self.listener = self.listener, None
        if listener is not None:
            self.down.lose_some()
            self.down.push(None)
            listener.ended(self, is_told=not is_killed)

    def end_at_client(self, *, is_killed: bool = False) -> None:
        """The connecting process closes it, or ends itself."""
        self.connection = None
        if is_killed:
            self.up.lose_some()
        self.up.push(None)


class Doorman(NamedTuple):
    """Who has this key?"""

    find: Find


class PretendListener:
    """The end that is connected to."""

    def __init__(self, network: Network, host: str, find: Find) -> None:
        self.host = host
        self.doorman = Doorman(find)
        self.endpoint = network.new_endpoint(self)
        self.wires: dict[int, Wire] = {}
        self._network = network
        self._inbox: list[Incoming] = []
        self._ended: list[int] = []

    def free_number(self) -> int:
        """Numbers are given again at once, as those of descriptors are."""
        return next(number for number in range(1, len(self.wires) + 2) if number not in self.wires)

    def take(self, incoming: Incoming) -> None:
        self._inbox.append(incoming)
        self._network.wake(self.host)

    def connected(self, wire: Wire) -> None:
        """A new connection takes over its route."""
        self.wires[wire.number] = wire
        for other in [other for other in self.wires.values() if other is not wire and other.route == wire.route]:
            # As with ZeroMQ, what has come by the old one and was not read yet comes under a route of its own.
            route = self._network.world.rng.randbytes(5)
            self._inbox = [
                incoming._replace(route=route) if incoming.connection == other.number else incoming
                for incoming in self._inbox
            ]
            other.end_at_server()

    def ended(self, wire: Wire, *, is_told: bool) -> None:
        del self.wires[wire.number]
        if is_told:
            self._ended.append(wire.number)
            self._network.wake(self.host)

    def descriptors(self) -> list[int]:
        return []

    def has_some(self) -> bool:
        return bool(self._inbox or self._ended)

    def send(self, route: bytes, frames: Sequence[bytes | memoryview]) -> bool:
        return self._network.send(lambda: self._pipe_to(route), frames)

    def _pipe_to(self, route: bytes) -> Pipe | None:
        return next((wire.down for wire in self.wires.values() if wire.route == route), None)

    def cut(self, connection: int) -> None:
        """End a connection whose key is not let in any more."""
        wire = self.wires.get(connection)
        if wire is not None:
            wire.end_at_server()

    def broken(self) -> list[int]:
        ended, self._ended = self._ended, []
        return ended

    def receive(self) -> list[Incoming]:
        inbox, self._inbox = self._inbox, []
        return inbox

    def close(self) -> None:
        self._network.listeners.pop(self.endpoint, None)
        for wire in list(self.wires.values()):
            wire.end_at_server(is_killed=True)


class PretendConnection:
    """The end that connects, again and again."""

    def __init__(self, network: Network, endpoint: str, route: bytes, identity: PretendIdentity) -> None:
        self.endpoint = endpoint
        self.route = route
        self.host = self.key = identity.public
        self.server = identity.head
        self.refusal = ""
        self.try_again_at = float("inf")
        self.is_connected = self.is_doubted = False
        self._network = network
        self._wire: Wire | None = None
        self._inbox: list[Frames] = []
        self._is_new = False
        self._has_broken = False
        self._is_closed = False
        network.connections.append(self)
        network.world.after(network.latency(), self._try)

    def _try(self) -> None:
        if self._is_closed:
            return
        listener = self._network.reachable(self.host, self.endpoint)
        if listener is None or listener.doorman.find(self.key) is None:
            self._network.world.after(self._network.world.rng.uniform(*RECONNECT_S), self._try)
            return
        self._wire = Wire(self._network, self, listener)
        listener.connected(self._wire)
        self._is_new = self.is_connected = True
        self._has_broken = False
        self._network.wake(self.host)

    def take(self, frames: Frames) -> None:
        self._inbox.append(frames)
        self._network.wake(self.host)

    def broke(self) -> None:
        """The other end has gone, or given it up."""
        self._wire = None
        self.is_connected = False
        self._has_broken = True
        self._network.wake(self.host)
        self._network.world.after(self._network.world.rng.uniform(*RECONNECT_S), self._try)

    def descriptors(self) -> list[int]:
        return []

    def has_some(self) -> bool:
        return bool(self._inbox)

    def send(self, frames: Sequence[bytes | memoryview]) -> bool:
        return self._network.send(lambda: None if self._wire is None else self._wire.up, frames)

    def receive(self) -> list[Frames]:
        inbox, self._inbox = self._inbox, []
        return inbox

    def has_reconnected(self) -> bool:
        if self.is_doubted and self._wire is not None and self._network.reachable(self.host, self.endpoint) is not None:
            self._wire.end_at_client(is_killed=True)
            self._has_broken = True
            self.is_connected = self.is_doubted = False
            self._wire = None
            self._try()
        is_new, self._is_new = self._is_new, False
        return is_new and self.is_connected

    def is_broken(self) -> bool:
        return self._has_broken and not self.is_connected

    def is_refused(self) -> bool:
        return self._network.is_refused(self.host, self.endpoint)

    def end(self, *, is_killed: bool) -> None:
        self._is_closed = True
        if self in self._network.connections:
            self._network.connections.remove(self)
        if self._wire is not None:
            self._wire.end_at_client(is_killed=is_killed)
            self._wire = None

    def close(self, linger_ms: int = 0) -> None:
        self.end(is_killed=not linger_ms)


class Network:
    """All connections, and the cables between hosts: one for each direction."""

    def __init__(self, world: ClusterWorld) -> None:
        self.world = world
        self.listeners: dict[str, PretendListener] = {}
        self.connections: list[PretendConnection] = []
        self.blocked: set[Pipe] = set()
        """What waits for a cable to be mended."""
        self.pipes_made = 0
        self._hosts: dict[str, str] = {}
        self._cuts: Counter[tuple[str, str]] = Counter()
        rng = world.rng
        self._latency_s = rng.choice([1e-4, 1e-3, 0.02])
        self._spikes = rng.choice([0.0, 0.0, 0.01, 0.05])
        self._loses = rng.choice([0.0, 0.0, 0.02, 0.1])
        self.is_lossy = self._loses > 0.0
        """So many beats in a row may be lost that somebody is given up who is there."""
        self._repeats = rng.choice([0.0, 0.0, 0.05, 0.3])

    def latency(self) -> float:
        rng = self.world.rng
        if self._spikes and rng.random() < self._spikes:
            return rng.uniform(0.1, 0.6)
        return self._latency_s * (0.5 + rng.random())

    def wake(self, host: str) -> None:
        process = self.world.processes.get(host)
        if process is not None:
            process.has_news = True

    def new_endpoint(self, listener: PretendListener) -> str:
        """A head's is always the same; any other process listens at a port of its own."""
        port = 7117 if listener.host == "head" else 40_000 + len(self._hosts)
        name = listener.host.replace(" ", "-")
        endpoint = f"tcp://{name}:{port}"
        self.listeners[endpoint] = listener
        self._hosts[endpoint] = listener.host
        return endpoint

    def send(self, find: Callable[[], Pipe | None], frames: Sequence[bytes | memoryview]) -> bool:
        """By the connection that there is; a socket drops what it cannot send at once."""
        rng = self.world.rng
        pipe = find()
        if pipe is None or (self._loses and rng.random() < self._loses):
            return False
        copied = [bytes(frame) for frame in frames]
        if len(copied) > 1 and copied[1]:
            self.world.tell(*pipe.direction, Words(copied))
        pipe.push(copied)
        if self._repeats and rng.random() < self._repeats:
            self._repeat(find, copied)
        return True

    def _repeat(self, find: Callable[[], Pipe | None], frames: Frames) -> None:
        """The frame comes once more, later, and perhaps by a later connection. A greeting does not: as the first of
        its connection it is always older than what comes by the next."""
        header = decode_header(frames[0])

        def push() -> None:
            pipe = find()
            if pipe is not None:
                pipe.push(frames)

        if header.number != 1 or header.receiver:
            self.world.after(self.world.rng.choice([0.0, self.world.rng.uniform(0.0, 4.0)]), push)

    def calm(self) -> None:
        """From now on nothing but time is lost."""
        self._loses = self._spikes = 0.0

    # Cables ---------------------------------------------------------------------------------------------------------

    def is_open(self, source: str, target: str) -> bool:
        return not self._cuts[source, target]

    def reachable(self, host: str, endpoint: str) -> PretendListener | None:
        """Who listens there, if a connection can be made."""
        there = self._hosts[endpoint]
        if self.is_open(host, there) and self.is_open(there, host) and not self.world.is_stopped(there):
            return self.listeners.get(endpoint)
        return None

    def is_refused(self, host: str, endpoint: str) -> bool:
        there = self._hosts[endpoint]
        return self.is_open(host, there) and self.is_open(there, host) and endpoint not in self.listeners

    def cut(self, directions: Sequence[tuple[str, str]], for_s: float) -> None:
        for direction in directions:
            self._cuts[direction] += 1
        for wire in self._wires():
            if wire.up.direction in directions or wire.down.direction in directions:
                limit_s = self.world.rng.uniform(*HEARTBEAT_S)
                if limit_s < for_s:
                    self.world.after(limit_s, wire.end_at_server)
        self.world.after(for_s, lambda: self._heal(directions))

    def _heal(self, directions: Sequence[tuple[str, str]]) -> None:
        self.world.tell("network", "", f"heals {directions}")
        for direction in directions:
            self._cuts[direction] -= 1
        blocked, self.blocked = self.blocked, set()
        for pipe in sorted(blocked, key=lambda pipe: pipe.number):
            pipe.pump()

    def break_connections(self, one: str, other: str) -> None:
        """All between two hosts, without a cause that lasts."""
        for wire in self._wires():
            if {one, other} == set(wire.up.direction):
                wire.end_at_server()

    def is_silent(self, host: str, for_s: float) -> None:
        """A stopped process answers no heartbeat."""
        for wire in self._wires():
            limit_s = self.world.rng.uniform(*HEARTBEAT_S)
            if wire.up.direction[0] == host and limit_s < for_s:
                self.world.after(limit_s, wire.end_at_server)

    def may_end(self, host: str) -> None:
        """A process that was stopped finds its heartbeats overdue: connections to it may end at once."""
        for wire in self._wires():
            if wire.up.direction[1] == host and self.world.draws(0.3):
                wire.end_at_server()

    def kill(self, host: str) -> None:
        """All sockets of a process end with it."""
        for connection in [connection for connection in self.connections if connection.host == host]:
            connection.end(is_killed=True)
        for listener in [listener for listener in self.listeners.values() if listener.host == host]:
            listener.close()

    def _wires(self) -> list[Wire]:
        return [wire for listener in self.listeners.values() for wire in listener.wires.values()]
