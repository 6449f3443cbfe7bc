"""Pretend hands: lanes with tokens and a ring, and worker processes, all without a process.

Each works as its namesake in `transport` and `runtime` does, step by step, and anything may happen between two steps.
`slip` is called where a real worker could run on meanwhile: it may take a token while others are taken back, say.
"""

from __future__ import annotations

import pickle
import random
from collections import deque
from collections.abc import Generator
from typing import Protocol

from distpool.config import Settings
from distpool.ids import INLINE_FUNCTION, LeaseId
from distpool.protocol.messages import (
    CHUNK_MODES,
    CallsDone,
    CallsFinished,
    ExitWorker,
    Message,
    OutcomeKind,
    RoomInRing,
    RunCalls,
    Slice,
    WorkerReady,
    WorkerUnusable,
)
from distpool.roles.worker import WorkerRole
from tests.simulation.ledger import Call, Point
from tests.simulation.transcript import Violation, numbers

KILLED = -9
TERMINATED = -15
FAILED_TO_START = 1
STEP_S = 5e-6


class Surroundings(Protocol):
    """What the hands need from the world around them."""

    rng: random.Random
    now: float
    settings: Settings

    def slip(self) -> None:
        """Let workers run on for a moment, or not."""
        ...

    def delay(self) -> float:
        """How much longer than it must a step takes."""
        ...

    def begin(self, number: int, worker: PretendWorker, left_out: int) -> Call:
        """A worker has taken a token for a call; of a chunk it leaves out so many items."""
        ...

    def begin_item(self, call: Call, item: int) -> None:
        """The next item of a call begins, or its only one."""
        ...

    def trapped(self, worker: PretendWorker) -> list[Call]:
        """The calls sent to this worker that end its process at some point."""
        ...

    def finish(self, number: int) -> None:
        """The result of a call lies in the ring."""
        ...

    def died(self, worker: PretendWorker, why: str, held: list[tuple[int, Point]]) -> None:
        """A worker process has ended, for whatever reason, when it held these calls."""
        ...

    def tell(self, who: object, whom: object, what: object) -> None:
        """For the transcript."""
        ...

    def draws(self, probability: float) -> bool:
        """A seeded choice."""
        ...


class PretendLane:
    """The caller's and the worker's end at once. A socket holds at most `frames_limit` frames."""

    def __init__(self, world: Surroundings, lease: LeaseId, frames_limit: int, ring_limit: int) -> None:
        self.lease = lease
        self.to_worker: deque[Message] = deque()
        self.to_caller: deque[Message] = deque()
        self.ring: deque[tuple[int, bytes]] = deque()
        self.tokens = 0
        self.items_begun = 0
        self.ring_limit = ring_limit
        self.writer_waits = False
        self.worker_is_gone = False
        self.end_was_read = False
        self.busy_s = 0.0
        self._busy_s_read = 0.0
        self._world = world
        self._frames_limit = frames_limit
        self._unsent: deque[tuple[Message, int]] = deque()

    # The caller's end -----------------------------------------------------------------------------------------------

    def send(self, message: Message) -> None:
        calls = sum(piece.count for piece in message.slices) if isinstance(message, RunCalls) else 0
        self._unsent.append((message, calls))
        self.flush()

    def flush(self) -> None:
        while self._unsent:
            message, calls = self._unsent[0]
            if self.worker_is_gone:
                # The tokens stay: they count as not begun when the death is reported.
                self.tokens += calls
                self._unsent.popleft()
                continue
            if len(self.to_worker) >= self._frames_limit:
                return
            self.tokens += calls
            self._world.slip()
            self.to_worker.append(message)
            self._unsent.popleft()

    def can_flush(self) -> bool:
        return bool(self._unsent) and len(self.to_worker) < self._frames_limit

    def take_back(self) -> int:
        """All calls that the worker has not begun. Without a token there is none that it could refuse and stop at: then
        what is not sent yet stays, too. Functions in frames that are dropped still have to arrive."""
        taken = 0
        while self.take_token():
            taken += 1
            self._world.slip()
        if not taken and not self.worker_is_gone:
            return 0
        unsent = sum(calls for _, calls in self._unsent)
        kept = [(RunCalls([], m.functions) if isinstance(m, RunCalls) else m, 0) for m, _ in self._unsent]
        self._unsent = deque(kept)
        return unsent + taken

    def calls_not_begun(self) -> int:
        return self.tokens + sum(calls for _, calls in self._unsent)

    def is_readable(self) -> bool:
        return bool(self.to_caller) or (self.worker_is_gone and not self.end_was_read)

    def receive(self) -> list[Message]:
        """What has come: all results as one message, as `transport.lanes` gives it."""
        messages: list[Message] = []
        stopped = False
        while self.to_caller:
            message = self.to_caller.popleft()
            if isinstance(message, CallsFinished):
                stopped = stopped or message.stopped
            else:
                messages.append(message)
        self.end_was_read = self.worker_is_gone
        self._world.slip()
        done = self.peek(stopped=stopped)
        return messages if done is None else [*messages, done]

    def peek(self, *, stopped: bool = False) -> CallsDone | None:
        outcomes = list(self.ring)
        self.ring.clear()
        if self.writer_waits:
            self.writer_waits = False
            self._world.tell("client", f"lane {self.lease}", RoomInRing())
            self.send(RoomInRing())
        if not outcomes and not stopped:
            return None
        busy_s, self._busy_s_read = self.busy_s - self._busy_s_read, self.busy_s
        return CallsDone(outcomes, busy_s, stopped)

    # The worker's end -----------------------------------------------------------------------------------------------

    def take_token(self) -> bool:
        if self.tokens < 0:
            raise Violation("negative credit", f"lane {self.lease} has {self.tokens} tokens")
        if self.tokens == 0:
            return False
        self.tokens -= 1
        return True

    def say(self, message: Message) -> None:
        self.to_caller.append(message)


Life = Generator[float | None, None, None]
"""A worker's steps: yields how long the next one takes to come, or None to wait for a message."""


class PretendWorker:
    """A worker process around the real `WorkerRole`; its steps are those of `runtime.worker.Worker`."""

    def __init__(self, world: Surroundings, lease: LeaseId, pid: int, lane: PretendLane, *, fails: bool) -> None:
        self.lease = lease
        self.pid = pid
        self.lane = lane
        self.role = WorkerRole(world.settings.hold_results_s)
        self.exitcode: int | None = None
        self.ignores_sigterm = world.draws(0.1)
        self.is_orphan = False
        self.calls_begun = 0
        self.in_call_since: float | None = None
        self.call: Call | None = None
        self._point = Point.NOT_UNPICKLED
        self._claimable: list[int] = []
        self._untold: list[int] = []
        self._is_interrupted = False
        self.idle_since: float | None = None
        self.due_at: float | None = float("inf")  # until its template forks it
        self._world = world
        self._life = self._prepare(fails)

    def __str__(self) -> str:
        return f"worker {self.lease}"

    def is_runnable(self, now: float) -> bool:
        if self.exitcode is not None:
            return False
        if self.is_orphan:
            return True
        return bool(self.lane.to_worker) if self.due_at is None else self.due_at <= now

    def step(self) -> None:
        if self.is_orphan and self._world.draws(0.5):
            self.die(KILLED, "died with its template")
            return
        if self.due_at is None and not self.lane.to_worker:
            return
        self.idle_since = None
        for call in self._world.trapped(self):
            if self._is_in_trap(call):
                self.die(KILLED, f"is killed by call {call.number}")
                return
        try:
            delay = next(self._life)
        except StopIteration:
            if self.exitcode is None:
                self.die(0, "ended")
            return
        self.due_at = None if delay is None else self._world.now + delay + self._world.delay()
        if delay is None and not self.lane.to_worker:
            self.idle_since = self._world.now

    def holds(self) -> list[tuple[int, Point]]:
        """The calls that were sent to it and of which its caller has not read a result, and how far each has come."""
        untold = set(self._untold)
        written = [pickle.loads(payload) for _, payload in self.lane.ring]
        held = [(number, Point.NOT_TOLD if number in untold else Point.TOLD) for number in written]
        if self.call is not None:
            held.append((self.call.number, self._point))
        in_hand = [*self._claimable, *(number for piece in self.role._hand for number in numbers(piece))]
        frames = [message for message in self.lane.to_worker if isinstance(message, RunCalls)]
        unread = [number for message in frames for piece in message.slices for number in numbers(piece)]
        waiting = [*((number, Point.NO_TOKEN) for number in in_hand), *((n, Point.NOT_READ) for n in unread)]
        return [*held, *waiting[: self.lane.tokens]]

    def _is_in_trap(self, call: Call) -> bool:
        trap = call.trap
        if trap is None or not trap.times or (call.number, trap.point) not in self.holds():
            return False
        if trap.point in (Point.FIRST_ITEM, Point.LATER_ITEM) and self.lane.items_begun != trap.item:
            return False
        trap.times -= 1
        return True

    def interrupt(self) -> None:
        """SIGINT reaches the call that runs, if there is one."""
        if self.call is not None and self._point is not Point.NOT_WRITTEN and not self.call.is_stubborn:
            self._is_interrupted = True
            self.due_at = self._world.now

    def die(self, exitcode: int, why: str) -> None:
        held = self.holds()
        self.exitcode = exitcode
        self.lane.worker_is_gone = True
        self.in_call_since = self.idle_since = None
        self._world.died(self, why, held)

    def _prepare(self, fails: bool) -> Life:
        yield STEP_S
        if fails:
            self.lane.say(WorkerUnusable(b"the initializer failed"))
            yield STEP_S
            self.die(FAILED_TO_START, "ended as its initializer failed")
            return
        self._world.tell(self, "client", "is ready")
        self.lane.say(WorkerReady())
        yield from self._serve()

    def _serve(self) -> Life:
        role, lane = self.role, self.lane
        while True:
            piece = role.next_slice()
            if piece is not None:
                yield from self._run_slice(piece)
                continue
            if not lane.to_worker and (role.untold or role.has_stopped):
                yield STEP_S
                self._tell()
                yield STEP_S
            while not lane.to_worker:
                yield None
            message = lane.to_worker.popleft()
            if isinstance(message, ExitWorker):
                return
            if isinstance(message, RunCalls):
                role.handle(message)
            yield STEP_S

    def _run_slice(self, piece: Slice) -> Life:
        role, lane = self.role, self.lane
        self._claimable = numbers(piece)
        while self._claimable:
            lane.items_begun = 0
            yield STEP_S
            number = self._claimable[0]
            if not lane.take_token():
                self._world.tell(self, "", f"finds no token for call {number}")
                role.refused()
                self._claimable = []
                return
            if piece.function != INLINE_FUNCTION and piece.function not in role.functions:
                raise Violation("unknown function", f"worker {self.lease} was not sent function {piece.function}")
            del self._claimable[0]
            self.in_call_since = self._world.now
            self.calls_begun += 1
            self._is_interrupted = False
            self._point = Point.NOT_UNPICKLED
            self.call = self._world.begin(number, self, piece.skip)
            yield from self._run_items(self.call, piece)
            lane.busy_s += self._world.now - self.in_call_since
            self._point = Point.NOT_WRITTEN
            yield STEP_S
            yield from self._write(number, OutcomeKind.ERROR if self._is_interrupted else OutcomeKind.VALUE)
            self.in_call_since = None
            yield STEP_S
            if role.finished(self._world.now) or len(lane.ring) * 2 > lane.ring_limit:
                self._tell()

    def _run_items(self, call: Call, piece: Slice) -> Life:
        """Unpickle the arguments, and run the items one after another until there is an interrupt."""
        yield STEP_S
        is_chunk = piece.mode in CHUNK_MODES
        for item in range(piece.skip, len(call.items_s)):
            if self._is_interrupted:
                return
            self._point = Point.RUNNING
            if is_chunk:
                # The mark, for whoever looks after our death.
                self.lane.items_begun = item - piece.skip + 1
                self._point = Point.LATER_ITEM if item > piece.skip else Point.FIRST_ITEM
            self._world.begin_item(call, item)
            yield call.items_s[item]

    def _write(self, number: int, kind: OutcomeKind) -> Life:
        lane = self.lane
        while len(lane.ring) >= lane.ring_limit:
            lane.writer_waits = True
            yield STEP_S
            if len(lane.ring) < lane.ring_limit:
                break
            self._tell()
            yield from self._wait_for_room()
        lane.ring.append((kind, pickle.dumps(number)))
        self._untold.append(number)
        self.call = None
        self._world.finish(number)

    def _wait_for_room(self) -> Life:
        while True:
            while not self.lane.to_worker:
                yield None
            message = self.lane.to_worker.popleft()
            if isinstance(message, RoomInRing):
                return
            if isinstance(message, ExitWorker):
                self.die(0, "ended while it waited for room")
                yield None
            if isinstance(message, RunCalls):
                self.role.handle(message)

    def _tell(self) -> None:
        message = CallsFinished(self.role.has_stopped)
        self._world.tell(self, "client", message)
        self.lane.say(message)
        self._untold = []
        self.role.told(self._world.now)
