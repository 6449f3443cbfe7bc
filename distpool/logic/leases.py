"""One lease as its caller sees it: its state, what its worker holds, and how much it may still be given."""

from __future__ import annotations

from enum import Enum, auto

import msgspec

from distpool.ids import LeaseId
from distpool.logic.calls import Bundle, Holding, Sink, Span
from distpool.protocol.messages import Death


class LeaseState(Enum):
    """The life of a lease at its caller."""

    STARTING = auto()
    """The worker is being made ready."""
    READY = auto()
    """The worker takes calls."""
    STOPPING = auto()
    """Calls were taken back; nothing may be sent until the worker says that it has dropped them."""
    LEAVING = auto()
    """The worker was told to end, and will."""
    GONE = auto()
    """The worker has ended."""


NEXT_STATE: dict[tuple[LeaseState, str], LeaseState] = {
    (LeaseState.STARTING, "ready"): LeaseState.READY,
    (LeaseState.STARTING, "told to end"): LeaseState.LEAVING,
    (LeaseState.STARTING, "exited"): LeaseState.GONE,
    (LeaseState.READY, "taken back"): LeaseState.STOPPING,
    (LeaseState.READY, "told to end"): LeaseState.LEAVING,
    (LeaseState.READY, "exited"): LeaseState.GONE,
    (LeaseState.STOPPING, "stopped"): LeaseState.READY,
    (LeaseState.STOPPING, "told to end"): LeaseState.LEAVING,
    (LeaseState.STOPPING, "exited"): LeaseState.GONE,
    (LeaseState.LEAVING, "ready"): LeaseState.LEAVING,
    (LeaseState.LEAVING, "stopped"): LeaseState.LEAVING,
    (LeaseState.LEAVING, "exited"): LeaseState.GONE,
}


class Lease:
    """The right to use one worker, and the calls that it holds."""

    def __init__(self, lease_id: LeaseId, calls_left: int | None) -> None:
        self.id = lease_id
        self.state = LeaseState.STARTING
        self.holding = Holding()
        self.calls_left = calls_left
        self.was_ready = False
        self.heard_at = 0.0
        # A take-back found nothing: asking again before there is news would find nothing again.
        self.has_begun_all = False
        # What it has not begun is being taken back: nothing may be sent until the answer.
        self.is_asked = False
        # Its oldest call is over its time limit: what it has not begun is being taken back, or has been.
        self.is_overdue = False
        # Its call has had its outcome while it still ran: what it still says of calls is not heard.
        self.is_abandoned = False
        # Its node is about to leave: it gets no more calls, and ends.
        self.is_draining = False
        # How many requests of its worker are not answered for which its call does nothing.
        self.waits = 0
        # Why its caller has its worker killed, for whoever has a call there.
        self.condemned = ""
        # Of an actor's calls that run beside each other: those that its worker has, by their numbers.
        self.beside: dict[int, Span] | None = None
        # Of the call that has made it abandoned.
        self.abandoned: Sink | None = None
        self.functions: set[int] = set()
        self.failure: bytes | None = None

    def step(self, event: str) -> None:
        """Follow the table; a pair that it lacks is an error in the runtime."""
        try:
            self.state = NEXT_STATE[self.state, event]
        except KeyError:
            raise ValueError(f"lease {self.id} is {self.state.name} and cannot be '{event}'") from None

    def sink_of(self, number: int) -> Sink | None:
        """Of the call of that number, of all that its worker has begun; None: it has ended."""
        bundle = self.bundle_of(number)
        if bundle is not None:
            return bundle.sink
        return self.abandoned if self.beside is None else None

    def bundle_of(self, number: int) -> Bundle | None:
        """The same: the bundle that the call is in."""
        if self.beside is not None:
            call = self.beside.get(number)
            return None if call is None else call.bundle
        at = number - self.holding.ended
        for span in self.holding.spans():
            if 0 <= at < len(span):
                return span.bundle
            at -= len(span)
        return None

    def room(self, limit: int) -> int:
        """How many more calls may be sent, when no worker may hold more than `limit`."""
        if self.state is not LeaseState.READY or self.is_asked or self.is_draining or self.waits:
            return 0
        room = limit - self.holding.calls
        return room if self.calls_left is None else min(room, self.calls_left)

    def may_be_asked(self) -> bool:
        """To give back what it has not begun."""
        return self.state is LeaseState.READY and not self.is_asked and not self.has_begun_all

    def sent(self, calls: int) -> None:
        if self.calls_left is not None:
            self.calls_left -= calls

    def returned(self, calls: int) -> None:
        """Calls that were sent and not begun do not count against the worker's life."""
        if self.calls_left is not None:
            self.calls_left += calls

    def explained(self, death: Death) -> Death:
        """The death of its worker, with why, where its caller knows."""
        if not self.condemned:
            return death
        return msgspec.structs.replace(death, stderr=f"{death.stderr}\nended by its program: {self.condemned}".lstrip())

    def may_leave(self) -> bool:
        """The worker holds nothing and gets nothing more: it has run as many calls as it may, or its node drains."""
        if self.holding.calls or not (self.calls_left == 0 or self.is_draining):
            return False
        return self.state is LeaseState.READY or (self.is_draining and self.state is LeaseState.STARTING)

    def __repr__(self) -> str:
        return f"<Lease {self.id} {self.state.name} holds {self.holding.calls}>"
