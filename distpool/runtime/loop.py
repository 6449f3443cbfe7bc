"""The loop: one turn waits, reads, hands messages to roles, lets them decide, and sends what they want sent.

    user threads ── mailbox ──┐                                    ┌── lanes ──► workers
                              ▼                                    │
            epoll ──► read ──► handle (client, node, head) ──► decide ──► outbox ──► launcher ──► templates
                                                                   │
                                                                   └──► completions ──► sinks (futures, results)

Only one thread at a time runs turns (see `helm`). Completions run last, when every role is at rest, so that a user's
callback may itself wait for a result, which runs further turns from within.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from distpool.config import Settings
from distpool.ids import CLIENT, HEAD, LAUNCHER, NODE, Address, GroupId, LeaseId, NodeId
from distpool.interrupts import deferred
from distpool.logic.outbox import Completion
from distpool.logic.times import earlier
from distpool.protocol.cluster import DownSaid, OpenGroup, UpSaid, WorkerPrinted, WorkerSaid
from distpool.protocol.messages import (
    CallsDone,
    LeaseLost,
    Message,
    RunCalls,
    StartWorker,
    TakeBack,
    TakenBack,
    WorkerExited,
)
from distpool.protocol.resources import Offer
from distpool.roles.client import ClientRole
from distpool.roles.head import HeadRole
from distpool.roles.node import NodeRole
from distpool.runtime.crews import TemplateHandle
from distpool.runtime.deciding import Deciding
from distpool.runtime.elsewhere import ALL_HERE, Elsewhere
from distpool.runtime.handles import Wait
from distpool.runtime.launcher import Launcher
from distpool.runtime.memory_guard import MemoryGuard
from distpool.runtime.notices import NOTICE_OF, Notice, log_note, said_by
from distpool.runtime.output import Outputs
from distpool.runtime.peeks import Peeks
from distpool.runtime.store_lanes import StoreLanes
from distpool.runtime.up_lanes import SAID, UpLanes
from distpool.runtime.watched import Watched
from distpool.settings import current
from distpool.transport.lanes import Lane

Command = tuple[Callable[..., None], tuple[Any, ...]]
"""Something that a user's thread wants done by whoever holds the loop."""

_LONGEST_WAIT_S = 86_400.0
"""epoll refuses a wait of more than 24 days; whoever waits for longer looks again."""

_READ = select.EPOLLIN


class Loop:
    """Hosts the client, node and head roles of this process, and the hands that do their I/O."""

    def __init__(
        self, settings: Settings, own: Offer, wait: Wait, elsewhere: Elsewhere = ALL_HERE, node: NodeRole | None = None
    ) -> None:
        """`own`: what this machine has, for a node role of this process that is not given."""
        self.client: Any = elsewhere.client or ClientRole(settings)
        self.node: Any = elsewhere.node or node or NodeRole(NodeId("local"), own)
        self.head: Any = elsewhere.head or HeadRole()
        self._elsewhere = elsewhere
        self._stand_ins = [role for role in elsewhere if role is not None]
        self._outboxes = [
            (NODE, self.node.outbox.messages),
            (HEAD, self.head.outbox.messages),
            (CLIENT, self.client.outbox.messages),
        ]
        self.lanes: dict[LeaseId, Lane] = {}
        self._epoll = select.epoll()
        self._watched = Watched(self._epoll)
        self._outputs = Outputs(
            settings.flush_part_after_s,
            self._epoll,
            lambda lease, name, text: self._told(lease, WorkerPrinted(name, text), time.monotonic()),
        )
        self.store_lanes = StoreLanes(
            self._epoll,
            self.wake,
            lambda lease: self.client.held_by(lease) > 0,
            lambda lease: self._peek(lease, time.monotonic()),
        )
        self.up_lanes = UpLanes(
            self._epoll,
            lambda lease, frame: self._told(lease, UpSaid(frame), time.monotonic()),
            lambda lease, message: self._deliver_to_worker(lease, message, 0.0),
            lambda lease, why: self.client.condemn(lease, why),
        )
        self.launcher = Launcher(
            settings, self.lanes, wait, self._watched.forget, self._outputs.open, self.store_lanes.open
        )
        self.mailbox: deque[Command] = deque()
        self.completions: deque[Completion | Notice] = deque()
        self.launcher.note = lambda text: self.completions.append(Notice(log_note, text))
        self._settings = settings
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake_fd, _READ)
        self.is_closed = False
        # Held while the wake descriptor is used or closed; re-entrant, as a signal handler wakes the loop too.
        self._end_lock = threading.RLock()
        self._asleep = False
        self._deciding = Deciding(self.client, self.node, self.head, self._stand_ins, self._hand_over)
        self._peeks = Peeks(settings, self.lanes)
        is_home = elsewhere.node is None
        self.guard = MemoryGuard(settings, current(), self.launcher, self.client, self.lanes, is_needed=is_home)
        self._poll_at = 0.0
        for stand_in in self._stand_ins:
            stand_in.attach(self.watch)

    # From any thread ------------------------------------------------------------------------------------------------

    def post(self, function: Callable[..., None], *args: Any) -> None:
        """Have this done in the next turn."""
        self.mailbox.append((function, args))
        if self._asleep:
            self.wake()
        elif self.is_closed:
            self.finish_mailbox()

    def wake(self) -> None:
        """End the wait of whoever holds the loop."""
        try:
            self._asleep = False
            with self._end_lock:
                if not self.is_closed:
                    os.eventfd_write(self._wake_fd, 1)
        except BaseException:
            self._asleep = True  # an interrupt, perhaps before it was written: whoever comes next does it
            raise

    # By the holder --------------------------------------------------------------------------------------------------

    def turn(self, timeout_s: float | None, *, spin: bool = False) -> None:
        """One turn; waits at most `timeout_s` for something to happen (None: as long as it takes)."""
        events = self._wait(timeout_s, spin=spin)
        now = time.monotonic()
        for descriptor, event in events:
            self._read(descriptor, event, now)
        if self._peeks.due:
            for lease in self._peeks.take_due(now):
                self._peek(lease, now)
        if self._outputs.flush_at:
            self._outputs.flush_parts(now)
        if now >= self.guard.look_at:
            self.guard.look(now)
        while self.mailbox:
            function, args = self.mailbox.popleft()
            function(*args)
        self._decide(now)
        self.store_lanes.retry()
        if timeout_s == 0.0:
            self._peeks.look_out()

    def run_completions(self) -> None:
        """Tell sinks what became of their calls. Each is removed before it is told, as it may run turns itself."""
        while self.completions:
            completion = self.completions.popleft()
            if type(completion) is tuple:
                bundle, first, outcomes = completion
                bundle.sink.deliver(first, outcomes)
            else:
                completion.tell()  # type: ignore[union-attr]

    def watch_template(self, group: GroupId) -> None:
        """Read what the template of a new group says."""
        self._watched.add_template(self.launcher.crews[group].template)

    def close(self) -> None:
        """After the last group is gone. What is posted later, by a thread that did not know, is answered at once."""
        self._stand_ins.clear()
        with self._end_lock:
            self.is_closed = True
            self._epoll.close()
            os.close(self._wake_fd)
        self.finish_mailbox()

    def finish_mailbox(self) -> None:
        """Every group is gone, so each call that still comes ends at once."""
        with deferred():
            while True:
                try:
                    function, args = self.mailbox.popleft()
                except IndexError:
                    break
                function(*args)
            self._decide(time.monotonic())
            self.run_completions()

    def close_after_fork(self) -> None:
        """In a forked child: let go of every descriptor, without a word to anybody."""
        self._epoll.close()
        os.close(self._wake_fd)
        for lane in self.lanes.values():
            lane.close()
        self._outputs.close()
        self.store_lanes.close()
        self.up_lanes.close()
        self.lanes.clear()
        self.launcher.close_after_fork()

    # Reading --------------------------------------------------------------------------------------------------------

    def _wait(self, timeout_s: float | None, *, spin: bool) -> list[tuple[int, int]]:
        has_come = self._peeks.withdraw()
        poll = self._epoll.poll
        if self.mailbox or self.completions or timeout_s == 0.0:
            # Whoever calls and waits by turns posts before each wait: it is enough to ask now and then.
            return [] if time.monotonic() < self._poll_at else self._poll()
        if has_come or (spin and self._peeks.watch(self.mailbox)):
            return [] if time.monotonic() < self._poll_at else self._poll()
        due = [*self._peeks.due.values(), *self._outputs.flush_at.values()]
        others = (self._deciding.wake_at, self.store_lanes.cool(), self.guard.due(time.monotonic()))
        due += [at for at in others if at is not None]
        if due:
            timeout_s = earlier(timeout_s, max(0.0, min(due) - time.monotonic()))
        if timeout_s is not None:
            timeout_s = min(timeout_s, _LONGEST_WAIT_S)
        if self._stand_ins and any(stand_in.has_some() for stand_in in self._stand_ins):
            return self._poll()
        self._asleep = True
        # Looked at again: who posted before `_asleep` was set does not wake us.
        events = poll(0) if self.mailbox else poll(timeout_s)
        self._asleep = False
        return events

    def _poll(self) -> list[tuple[int, int]]:
        self._poll_at = time.monotonic() + self._settings.poll_every_s
        return self._epoll.poll(0)

    def _read(self, descriptor: int, event: int, now: float) -> None:
        if descriptor == self._wake_fd:
            os.eventfd_read(self._wake_fd)
        elif descriptor in self._watched.templates:
            self._read_template(self._watched.templates[descriptor], now)
        elif descriptor in self._outputs.pipes:
            self._outputs.read(self._outputs.pipes[descriptor], now)
        elif descriptor in self.store_lanes.leases:
            self.store_lanes.read(descriptor)
        elif descriptor in self.up_lanes.lanes:
            self.up_lanes.ready(descriptor, event)
        elif descriptor in self._watched.lanes:
            lease = self._watched.lanes[descriptor]
            lane = self.lanes[lease]
            if event & select.EPOLLOUT:
                self._watched.flush(lane)
            self._read_lane(lease, lane, now)

    def _read_lane(self, lease: LeaseId, lane: Lane, now: float) -> None:
        messages = lane.receive()
        # After that, and before anybody gets a result: what the worker wrote before it finished a call is there.
        self._outputs.read(lease, now)
        self.up_lanes.open(lease, lane)
        for message in messages:
            self._told(lease, message, now)
        self._peeks.heard(lease, now, holds_calls=self.client.held_by(lease) > 0)
        if lane.is_at_end:
            # The worker's end is closed; its death is told by its template.
            self._watched.forget_lane(lane)

    def _peek(self, lease: LeaseId, now: float) -> None:
        lane = self.lanes[lease]
        if lane.has_unread_frames():
            self._read_lane(lease, lane, now)
        elif (done := lane.peek()) is not None:
            self._outputs.read(lease, now)
            for message in (*lane.take_read_ahead(), done):
                self._told(lease, message, now)

    def _told(self, sender: Address, message: Message, now: float) -> None:
        is_ours = self._elsewhere.client is None
        if type(message) is CallsDone:
            self.client.handle(sender, message, now)
        elif is_ours and type(message) in NOTICE_OF:
            self.completions.append(NOTICE_OF[type(message)](message))
        elif is_ours and type(message) in SAID:
            self.up_lanes.said(LeaseId(int(sender)), message)
        else:
            self.client.handle(sender, message, now)
            if type(message) is LeaseLost:
                self.up_lanes.lost(message)

    def _read_template(self, template: TemplateHandle, now: float) -> None:
        self._deciding.others_have_news = True
        for message in self.launcher.receive(template):
            if isinstance(message, WorkerExited):
                message = self._bury(message, now)
            self.node.handle(LAUNCHER, message, now)

    def _bury(self, exited: WorkerExited, now: float) -> WorkerExited:
        """Everything that the worker still said comes before its death; what it had not begun is counted."""
        lease = exited.lease
        lane = self.lanes[lease]
        self._read_lane(lease, lane, now)
        self.up_lanes.bury(lease)
        death = lane.left_by(self.guard.explained(lease, exited.death), self._outputs.bury(lease))
        self._peeks.forget(lease)
        self.store_lanes.bury(lease)
        self._watched.forget_lane(lane)
        del self.lanes[lease]
        lane.close()
        return WorkerExited(lease, exited.group, death)

    # Deciding and sending -------------------------------------------------------------------------------------------

    def _decide(self, now: float) -> None:
        self._deciding.decide(now)
        outbox = self.client.outbox
        if outbox.completions or outbox.news or outbox.notes:
            self.completions.extend(said_by(outbox))

    def _hand_over(self, now: float) -> bool:
        """Empty the outboxes: whether a role of this process got anything."""
        for_a_role = False
        busy = True
        while busy:
            busy = False
            for name, messages in self._outboxes:
                while messages:
                    to, message = messages.popleft()
                    if type(message) is RunCalls:
                        self._send_calls(LeaseId(int(to)), message, now)
                    else:
                        self._deliver(name, to, message, now)
                        busy = for_a_role = True
        return for_a_role

    def _deliver(self, sender: Address, to: Address, message: Message, now: float) -> None:
        if isinstance(to, int):
            self._deliver_to_worker(LeaseId(to), message, now)
        elif to == LAUNCHER:
            self._deliver_to_launcher(message, now)
        elif to == CLIENT:
            if type(message) is WorkerSaid:
                sender, message = message.lease, message.message
                self.node.name_tasks(message)
            self._told(sender, message, now)
        elif to == NODE:
            self.node.handle(sender, message, now)
        else:
            self.head.handle(sender, message, now)

    def _deliver_to_worker(self, lease: LeaseId, message: Message, now: float) -> None:
        if self._elsewhere.node is not None and lease not in self.lanes:
            self.node.pass_on(lease, message)
        elif isinstance(message, DownSaid):
            self.up_lanes.send(lease, message.frame)
        elif isinstance(message, TakeBack):
            self.client.handle(lease, TakenBack(self.lanes[lease].take_back()), now)
            # What it has begun may be finished by now; then it is no longer what the worker runs.
            self._peek(lease, now)
        else:
            self._send_to_worker(lease, message)

    def _deliver_to_launcher(self, message: Message, now: float) -> None:
        if self._elsewhere.node is not None:
            self.node.obey(message, now)
            return
        for answer in self.launcher.handle(message):
            self.node.handle(LAUNCHER, answer, now)
        if isinstance(message, StartWorker) and message.lease in self.lanes:
            self._watched.add_lane(self.lanes[message.lease], message.lease)
            self.up_lanes.expect(message.lease, self.lanes[message.lease])
        elif isinstance(message, OpenGroup) and message.group in self.launcher.crews:
            self.watch_template(message.group)

    def _send_calls(self, lease: LeaseId, message: RunCalls, now: float) -> None:
        if self._elsewhere.node is not None and lease not in self.lanes:
            self.node.pass_on(lease, message)
            return
        self._peeks.sent(lease, now)
        self._send_to_worker(lease, message)

    def _send_to_worker(self, lease: LeaseId, message: Message) -> None:
        lane = self.lanes[lease]
        lane.send(message)
        self._watched.await_room(lane)

    def watch(self, descriptor: int) -> None:
        """Run a turn when this descriptor is ready: a stand-in has something to say, or a signal has come."""
        self._epoll.register(descriptor, _READ | select.EPOLLET)
