"""The driver's loop over the real roles, as `runtime.loop` runs them, with pretend lanes and templates."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from distpool.ids import CLIENT, HEAD, LAUNCHER, NODE, Address, GroupId, LeaseId
from distpool.protocol.messages import (
    LeaseLost,
    LeaseStarted,
    Message,
    RunCalls,
    WorkerExited,
)
from distpool.protocol.resources import Offer
from distpool.roles.client import ClientRole
from distpool.roles.head import HeadRole
from distpool.roles.node import NodeRole
from distpool.runtime.loop import earlier
from tests.simulation.hands import Hands
from tests.simulation.templates import PretendLauncher
from tests.simulation.transcript import Violation, numbers

if TYPE_CHECKING:
    from tests.simulation.world import World

ROUNDS_LIMIT = 100


class Hosting:
    """The loop of the driver: turns, and whom a message goes to."""

    def __init__(self, world: World, *, is_apart: bool) -> None:
        self.client = ClientRole(world.settings)
        self.node = NodeRole(world.node_id, Offer(2))
        self.head = HeadRole()
        self._known: set[LeaseId] = set()
        self.launcher = PretendLauncher(world, world.new_worker)
        self._hands = Hands(world, self.launcher, self._hear, self.client.held_by, self._known.__contains__)
        self.lanes = self._hands.lanes
        self.mailbox: deque[Callable[[], None]] = deque()
        self.links: dict[tuple[Address, Address], deque[Message]] = {}
        self._world = world
        self._is_apart = False
        self._wake_at: float | None = None
        self._stalled_until = world.now
        self._decide()  # The node registers before anything else happens.
        self._is_apart = is_apart

    def __str__(self) -> str:
        return "driver"

    def due_at(self) -> float | None:
        """When the loop has something to do and comes to it; None while there is nothing."""
        due = self._news_at()
        return due if due is None else max(due, self._stalled_until)

    def _news_at(self) -> float | None:
        if self.mailbox:
            return self._world.now
        return earlier(self._hands.news_at(), self._wake_at)

    def turn(self) -> None:
        world = self._world
        self._stalled_until = world.now + world.delay()
        self._hands.read(self._read_template)
        while self.mailbox:
            self.mailbox.popleft()()
        world.slip()
        self._decide()

    def deliver_one(self) -> None:
        """Roles apart: one message arrives."""
        link = self._world.rng.choice([link for link, messages in self.links.items() if messages])
        self._deliver(*link, self.links[link].popleft())
        self._decide()

    def has_mail_between_roles(self) -> bool:
        return any(self.links.values())

    # Reading --------------------------------------------------------------------------------------------------------

    def _hear(self, lease: LeaseId, message: Message) -> None:
        self._world.tell(f"lane {lease}", "client", message)
        self.client.handle(lease, message, self._world.now)

    def _read_template(self, group: GroupId) -> None:
        for message in self.launcher.receive(group):
            if isinstance(message, WorkerExited) and not self._is_apart:
                message = WorkerExited(message.lease, message.group, self._hands.bury(message.lease, message.death))
            self._world.tell(LAUNCHER, NODE, message)
            self.node.handle(LAUNCHER, message, self._world.now)

    # Deciding -------------------------------------------------------------------------------------------------------

    def _decide(self) -> None:
        roles: dict[Address, ClientRole | NodeRole | HeadRole] = {
            CLIENT: self.client,
            NODE: self.node,
            HEAD: self.head,
        }
        for _ in range(ROUNDS_LIMIT):
            # What has happened comes before decisions: nobody sends to a worker whose death is known already.
            while any(role.outbox.messages for role in roles.values()):
                for name, role in roles.items():
                    while role.outbox.messages:
                        self._route(name, *role.outbox.messages.popleft())
            self._wake_at = self.client.decide(self._world.now)
            self.head.decide(self._world.now)
            if not any(role.outbox.messages for role in roles.values()):
                break
        else:
            raise Violation("no rest", "the roles go on without any news")
        completions = self.client.outbox.completions
        while completions:
            bundle, first, outcomes = completions.popleft()
            bundle.sink.deliver(first, outcomes)
        self.client.outbox.notes.clear()

    def _route(self, sender: Address, to: Address, message: Message) -> None:
        if self._is_apart and not isinstance(to, int) and to != LAUNCHER:
            self.links.setdefault((sender, to), deque()).append(message)
        else:
            self._deliver(sender, to, message)

    def _deliver(self, sender: Address, to: Address, message: Message) -> None:
        self._world.tell(sender, f"lane {to}" if isinstance(to, int) else to, message)
        now = self._world.now
        if isinstance(to, int):
            self._send_to_worker(LeaseId(to), message)
        elif to == LAUNCHER:
            for answer in self.launcher.handle(message):
                self._world.tell(LAUNCHER, NODE, answer)
                self.node.handle(LAUNCHER, answer, now)
        elif to == CLIENT:
            if isinstance(message, LeaseStarted):
                self._known.add(message.lease)
            elif isinstance(message, LeaseLost) and self._is_apart:
                # Until its caller knows, calls are still sent to the lane of a dead worker: count them now.
                message = LeaseLost(message.lease, message.group, self._hands.bury(message.lease, message.death))
            self.client.handle(sender, message, now)
        elif to == NODE:
            self.node.handle(sender, message, now)
        else:
            self.head.handle(sender, message, now)

    def _send_to_worker(self, lease: LeaseId, message: Message) -> None:
        if isinstance(message, RunCalls):
            self._world.check_sent(lease, [n for piece in message.slices for n in numbers(piece)])
        self._hands.send(lease, message)
