"""Actors of this program that others call: they run its calls like its own, and are told what becomes of them.

    guest: CallActor ──► method of the Life ──► worker ──► promise ── ended ──► ActorTold ──► guest

Arguments are not opened here, nor are results: what of them lies in a store is put into their pickle.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import msgspec

from distpool.actors.life import Life
from distpool.actors.options import MethodOptions
from distpool.base_errors import InvalidRef
from distpool.logic.promises import Promise
from distpool.logic.streams import ONE
from distpool.objects.promises import LOCK, promise_for
from distpool.objects.whole import whole_of
from distpool.protocol.actors import ActorEnd
from distpool.protocol.cluster import PeerLost
from distpool.protocol.messages import OutcomeKind
from distpool.protocol.names import ActorStarted, ActorTold, CallActor, CancelActorCall, EndActor, StartActor
from distpool.runtime.notices import Notice
from distpool.serialization.remote_errors import encode_failure
from distpool.tasks.calls import Task

if TYPE_CHECKING:
    from distpool.runtime.programs import Programs
    from distpool.runtime.session import Session

_DIED = int(OutcomeKind.ACTOR_DIED)
_GONE = "nothing is known of it any more by the program that owned it: it is dead"

Start = Callable[[str, StartActor], None]
"""By a keeper: for a guest, start an actor that is to outlive it."""


class Guest:
    """A call of another program, until that has been told what became of it."""

    def __init__(self, hosted: Hosted, guest: str, number: int) -> None:
        self.guest = guest
        self.number = number
        self.task: Task | None = None
        self._hosted = hosted

    def ended(self, promise: Promise) -> None:
        """As a watcher, on any thread."""
        self._hosted.post_answer(self, promise)


class Hosted:
    """Those of one session. Owned by whoever holds its loop, but for what says otherwise."""

    def __init__(self, session: Session, programs: Programs) -> None:
        self._session = session
        self._programs = programs
        # Any thread may add and remove some: each is one step of a dictionary.
        self._lives: WeakValueDictionary[int, Life] = WeakValueDictionary()
        # By which threads.
        self._coming: dict[int, int] = {}
        self._fates: dict[int, str] = {}
        self._calls: dict[tuple[str, int], Guest] = {}
        # What was said of actors that are about to begin.
        self._early: defaultdict[int, list[tuple[str, Any]]] = defaultdict(list)
        self.start: Start = self._refuse_start

    # By any thread --------------------------------------------------------------------------------------------------

    def expect(self, number: int) -> None:
        """An actor of this number may be called by others before it has begun."""
        self._coming[number] = threading.get_ident()

    def begun(self, number: int, life: Life | None) -> None:
        """It has begun; None: it will not."""
        if life is not None:
            self._lives[number] = life
        self._coming.pop(number, None)
        self._session.post(self._hear_early, number)

    def find(self, number: int) -> Life | None:
        return self._lives.get(number)

    def await_begin(self, number: int) -> None:
        """Wait while another thread begins the actor of this number, if one does. Raises RuntimeError in a callback,
        for which that thread may have to wait, and where this very thread begins it."""
        if number not in self._coming:
            return
        if self._session.helm.is_held_here() or self._coming.get(number) == threading.get_ident():
            raise RuntimeError(
                "the actor of this name is being started at this moment, which cannot be waited for here"
            )
        self._programs.wait(lambda: number not in self._coming, None)

    def post_answer(self, call: Guest, promise: Promise) -> None:
        self._session.loop.post(self._answer, call, promise)

    # By the holder --------------------------------------------------------------------------------------------------

    def serve(self, guest: str, message: Any) -> None:
        """What a guest says."""
        match message:
            case CallActor(actor=actor) | EndActor(actor=actor) if actor in self._coming:
                self._early[actor].append((guest, message))
            case CallActor():
                # When all roles are at rest: methods are looked up, which may pickle.
                self._session.loop.completions.append(Notice(self._call, guest, message))
            case CancelActorCall(number):
                call = self._calls.get((guest, number))
                if call is not None and call.task is not None:
                    self._session.loop.completions.append(Notice(_cancel, call.task))
            case EndActor(actor, may_restart):
                life = self._lives.get(actor)
                if life is not None:
                    if not may_restart:
                        self._fates[actor] = "it was killed by distpool.kill"
                    self._session.loop.completions.append(Notice(partial(life.kill, no_restart=not may_restart)))
            case StartActor():
                self._session.loop.completions.append(Notice(self.start, guest, message))
            case PeerLost():  # its calls go on, and nobody is told
                for key in [key for key in self._calls if key[0] == guest]:
                    del self._calls[key]

    def _hear_early(self, number: int) -> None:
        for guest, message in self._early.pop(number, ()):
            self.serve(guest, message)

    def _call(self, guest: str, message: CallActor) -> None:
        number = message.number
        life = self._lives.get(message.actor)
        if life is None:
            self._tell(guest, number, _DIED, ActorEnd(self._fates.get(message.actor, _GONE), "of another program", 0.0))
            return
        name = f"{life.class_plan.name}.{message.method}"
        try:
            if message.method not in life.class_plan.methods:
                raise AttributeError(f"actor class {life.class_plan.name} has no method {message.method!r}")
            if message.returns < ONE:
                raise TypeError(f"{name} cannot stream to another program")
            options = MethodOptions(message.group or None, message.retries, message.returns)
            method = life.method(message.method, options)
        except Exception as error:
            self._programs.answer(guest, ActorTold(number, int(OutcomeKind.ERROR), encode_failure(error)))
            return
        promise = promise_for(name)
        call = self._calls[guest, number] = Guest(self, guest, number)
        call.task = promise.call = Task(life.workers, (promise,))
        with LOCK:
            promise.watch(call)
        method.hand_in(call.task, message.arguments, [])

    def _answer(self, call: Guest, promise: Promise) -> None:
        """What lies elsewhere is brought first, which takes turns of the loop."""
        if self._calls.pop((call.guest, call.number), None) is not None:
            self._session.loop.completions.append(Notice(self._say, call, promise))
            self._session.loop.post(_do_nothing)

    def _say(self, call: Guest, promise: Promise) -> None:
        kind, payload = promise.outcome  # type: ignore[misc]
        if kind == OutcomeKind.STORED:
            try:
                kind, payload = OutcomeKind.VALUE, _whole(promise.name, payload)
            except Exception as error:
                kind, payload = OutcomeKind.ERROR, encode_failure(error)
        elif kind in (OutcomeKind.ACTOR_DIED, OutcomeKind.ACTOR_UNAVAILABLE):
            payload = msgspec.msgpack.decode(payload, type=ActorEnd)
        elif kind in (OutcomeKind.TERMINATED, OutcomeKind.BROKEN):
            class_name = promise.name.rpartition(".")[0]
            kind, payload = (
                _DIED,
                ActorEnd("the program that owned it has ended its actors", class_name, time.monotonic()),
            )
        self._tell(call.guest, call.number, int(kind), payload, promise.cause)
        self._session.loop.post(_do_nothing)  # said at rest, it is passed on in the next turn

    def _tell(self, guest: str, number: int, kind: int, payload: Any, cause: str = "") -> None:
        if isinstance(payload, ActorEnd):
            # For how long, as clocks differ.
            ago_s = time.monotonic() - payload.at if payload.at else 0.0
            payload = msgspec.msgpack.encode(msgspec.structs.replace(payload, at=ago_s))
        self._programs.answer(guest, ActorTold(number, kind, payload, cause))

    def _refuse_start(self, guest: str, message: StartActor) -> None:
        error = RuntimeError(f"{self._programs.name} starts no actors for other programs")
        self._programs.answer(guest, ActorStarted(message.number, None, encode_failure(error)))


def _whole(name: str, payload: Any) -> bytes:
    """The pickle of a result that lies in a store. Raises InvalidRef for one that has refs of tasks or handles in it:
    nobody there could ask for them."""
    if payload.tasks:
        raise InvalidRef(
            f"the result of {name} has refs of tasks, or handles of actors, in it, which are good in the program that "
            "owns the actor only: return values, and have actors found by their names"
        )
    if not payload.holds:
        return payload.pickled  # type: ignore[no-any-return]
    found = whole_of(payload.pickled)
    return found if isinstance(found, bytes) else payload.pickled


def _cancel(task: Task) -> None:
    if task.end((OutcomeKind.CANCELLED, b"")):
        task.workers.cancel(task, force=False)


def _do_nothing() -> None:
    pass
