"""A group of workers as a facade uses it: hands in calls, waits for their outcomes, ends them."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from distpool.base_errors import ForeignProcess
from distpool.interrupts import deferred
from distpool.logic.calls import NO_OPTIONS, SCALAR_BYTES, Bundle, CallOptions, Claim, Entry, Outcome
from distpool.logic.group import Group
from distpool.logic.group_plan import GroupState
from distpool.protocol.messages import CallMode, OutcomeKind
from distpool.runtime.arguments import Arguments
from distpool.runtime.crews import Crew
from distpool.runtime.handles import WorkerHandle
from distpool.runtime.locks import Event
from distpool.runtime.main_view import MainView
from distpool.serialization.pickling import SCALARS

if TYPE_CHECKING:
    from distpool.runtime.far_crew import FarCrew
    from distpool.runtime.session import Session


class Receiver(Protocol):
    """A sink: who waits for a bundle's calls. Both methods run on the thread that holds the loop."""

    def begin(self) -> bool:
        """The calls are about to be sent; False if they were cancelled."""
        ...

    def put_back(self) -> None:
        """The call waits again."""
        ...

    def deliver(self, first: int, outcomes: list[Outcome]) -> None:
        """Calls `first` and following ended like this."""
        ...


class Workers:
    """One group of workers, as a facade uses it. Every method may be called from any thread."""

    def __init__(
        self,
        session: Session,
        group: Group,
        crew: Crew | FarCrew,
        main: MainView,
        *,
        drains_at_exit: bool,
    ) -> None:
        self._session = session
        self._group = self.group = group
        """What decides on them: its plain values may be read at any time, and nothing else."""
        self._crew = crew
        self.arguments = Arguments(main, session.functions, session.loop.client.functions)
        self._incoming: deque[Bundle] = deque()
        self._is_posted = False
        self._gone = Event()
        self.drains_at_exit = drains_at_exit
        self.poke = session.helm.poke
        """Send what was handed in, if nobody else is about to."""
        OPEN_WORKERS[id(self)] = self
        group.on_gone = self._note_gone
        self.on_over: Callable[[], None] = _do_nothing
        """By whoever holds the loop: no process of the group is left."""

    # Calls ----------------------------------------------------------------------------------------------------------

    def hand_in(
        self,
        function_id: Any,
        mode: CallMode,
        entries: list[Entry],
        sink: Receiver,
        first: int = 0,
        options: CallOptions = NO_OPTIONS,
        name: str = "",
        chunksize: int = 1,
    ) -> None:
        """Hand in calls, whose outcomes go to the sink. `poke` sends them: a facade may hold a lock of its own here."""
        claims = None
        entry_bytes = SCALAR_BYTES
        kinds = set(map(type, entries))
        if not kinds <= SCALARS:
            if not kinds <= _UNCLAIMED:
                entries, claims = _take_claims(entries)
            sizes = [len(entry) for entry in entries if type(entry) is bytes]
            size = sum(sizes) + sum(claim.bytes for claim in claims.values()) if claims else sum(sizes)
            entry_bytes = max(SCALAR_BYTES, size // len(sizes)) if sizes else SCALAR_BYTES
        if self._session.is_foreign:
            self._check_process()
        bundle = Bundle(function_id, mode, entries, sink, first, entry_bytes, options, name, chunksize, claims=claims)
        self._incoming.append(bundle)
        if not self._is_posted:
            self._post_take_in()

    def hand_in_call(
        self,
        function_id: Any,
        call: Any,
        sink: Receiver,
        options: CallOptions = NO_OPTIONS,
        name: str = "",
        mode: CallMode = CallMode.CALL,
    ) -> None:
        """`hand_in` for one pickled call: the hot path of `submit` and `apply_async`."""
        if type(call) is not bytes:
            self.hand_in(function_id, mode, [call], sink, 0, options, name)
            return
        if self._session.is_foreign:
            self._check_process()
        self._incoming.append(Bundle(function_id, mode, (call,), sink, 0, len(call), options, name))
        if not self._is_posted:
            self._post_take_in()

    def _post_take_in(self) -> None:
        self._is_posted = True
        try:
            self._session.loop.post(self.take_in)
        except BaseException:
            self._is_posted = False  # an interrupt, perhaps before it was posted: whoever comes next does it
            raise

    def take_in(self) -> None:
        """By whoever holds the loop: all that was handed in goes to the client role at once."""
        self._is_posted = False
        bundles = []
        while self._incoming:
            bundles.append(self._incoming.popleft())
        if bundles:
            self._session.loop.client.submit(self._group, bundles)

    def look_again(self) -> None:
        """See that a turn follows, after which whoever runs the loop looks whether it has what it waits for."""
        self.post(_do_nothing)

    def post(self, function: Callable[..., None], *args: Any) -> None:
        """Have something done by whoever holds the loop."""
        self._check_process()
        self._session.loop.post(function, *args)
        self._session.helm.poke()

    def wait(
        self, is_done: Callable[[], bool], timeout_s: float | None, passively: Callable[[float | None], Any]
    ) -> bool:
        """Wait until `is_done()`; this thread runs the loop meanwhile if it can."""
        self._check_process()
        return self._session.wait(is_done, timeout_s, passively)

    # Life -----------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> GroupState:
        return self._group.state

    @property
    def breaks(self) -> bool:
        """The death of a worker ends all of them."""
        return self._group.plan.breaks

    @property
    def broken(self) -> str:
        """Why no call can run any more; empty while they can."""
        return self._group.reason if self._group.is_broken() else ""

    def refusal(self, *, ask: bool) -> str:
        """Why no worker can ever be had; empty while one may be. `ask`: on a cluster, when its head has answered what
        was asked of it; one that is silent is not waited for."""
        if ask:
            self._session.hear_head()
        return self._group.reason if self._group.end_kind is OutcomeKind.UNPLACED else ""

    def is_open(self) -> bool:
        """Calls can be handed in."""
        return self._group.state is GroupState.OPEN

    def is_over(self) -> bool:
        """No call can run any more."""
        return self._group.state not in (GroupState.OPEN, GroupState.CLOSING)

    def is_owned_here(self) -> bool:
        """This process made the group, and was not forked from the one that did."""
        return not self._session.is_foreign

    def handles(self) -> list[WorkerHandle]:
        """The worker processes that live, oldest first."""
        return list(self._crew.handles.values()) if self.is_owned_here() else []

    def settle(self) -> None:
        """Wait until what was handed in has been decided on, so that `handles` shows the workers that it needs."""
        for _ in range(2):  # what is posted second is done in a turn after that of the first
            done: list[bool] = []
            self.post(done.append, True)
            while not done and not self._session.is_foreign:
                self._session.wait(lambda: bool(done), None, wait_briefly)  # noqa: B023

    def close(self) -> None:
        """No more calls: workers end when all are done."""
        self.post(self._session.loop.client.close, self._group)

    def cancel_waiting(self) -> None:
        """Cancel the calls that were not sent to a worker."""
        self.post(self._session.loop.client.cancel_waiting, self._group)

    def cancel(self, sink: Receiver, *, force: bool) -> None:
        """Its call is not wanted: if a worker runs it, interrupt it, or with `force` end the worker."""
        self.post(self._session.loop.client.cancel, self._group, sink, force)

    def terminate(self, kind: OutcomeKind = OutcomeKind.TERMINATED, text: str = "the pool was terminated") -> None:
        """End all calls and all workers."""
        if self.is_owned_here() and not self._gone.is_set():
            with deferred():  # the garbage collector calls this too, and only once
                self.post(self._session.loop.client.terminate, self._group, kind, text)

    def break_down(self, text: str) -> None:
        """By whoever holds the loop, at rest: end all calls before anybody can hear of the reason."""
        self._session.loop.client.terminate(self._group, OutcomeKind.BROKEN, text)
        self.look_again()  # A turn tells of it.

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until no process of the group is left."""
        if not self.is_owned_here():
            return False
        if not self._session.wait(self._gone.is_set, timeout_s, self._gone.wait):
            return False
        self._session.join()
        return True

    def _note_gone(self) -> None:
        self._gone.set()
        self.on_over()
        # No cycle is left, so that what the initializer's arguments hold is free when its pool is.
        self._group.on_gone = _do_nothing
        OPEN_WORKERS.pop(id(self), None)

    def _check_process(self) -> None:
        if self._session.is_foreign:
            raise ForeignProcess(
                f"this pool belongs to process {self._session.pid}; process {os.getpid()} was forked from it and "
                "cannot use it: make a pool in the process that uses it"
            )


_UNCLAIMED = SCALARS | {bytes, str}


def _take_claims(entries: list[Entry]) -> tuple[list[Entry], dict[int, Claim] | None]:
    """The entries as they are sent, and what those of them that are a `ClaimedPickle` need."""
    claims = {at: entry.claim for at, entry in enumerate(entries) if hasattr(entry, "claim")}
    return [entry.pickled if at in claims else entry for at, entry in enumerate(entries)], claims or None  # type: ignore[attr-defined]


OPEN_WORKERS: dict[int, Workers] = {}
"""All of this process."""


def _do_nothing() -> None:
    pass


def wait_briefly(timeout_s: float | None) -> None:
    """Another thread runs the loop; what is waited for has no event of its own, and takes a few milliseconds."""
    time.sleep(0.001)
