"""Arguments that need the store: a small pickle says where the rest of them lies, and a claim keeps that."""

from __future__ import annotations

import pickle
import weakref
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from distpool.base_errors import ObjectLost
from distpool.ids import Key, LeaseId
from distpool.logic.promises import Promise
from distpool.logic.stock import HolderKind
from distpool.objects.apart import pickle_apart
from distpool.objects.home import Hold, Home
from distpool.objects.known import Address, Known
from distpool.objects.promised import WithValues, open_value
from distpool.objects.promises import PROMISES, TaskRef, value_of
from distpool.objects.refs import ObjectRef, noting_refs
from distpool.objects.segments import Piece
from distpool.objects.shelf import lost_text
from distpool.objects.staying import StayingValue
from distpool.objects.stores import get_value, home, is_on_node, load_object
from distpool.serialization.buffers import Parts
from distpool.store.addresses import address_of
from distpool.store.libc import LIBC
from distpool.store.memory import Buffer

_RECENT = 16


class Claim:
    """The objects of one call: held while the call waits, and pinned while a worker has it."""

    def __init__(
        self,
        home: Home,
        holds: list[Hold],
        refs: list[ObjectRef],
        kept: Iterable[Any] = (),
        there: Iterable[tuple[Key, int]] = (),
    ) -> None:
        """`kept`: what else is to last as long as the claim. `there`: what that keeps on nodes, with the bytes."""
        self._home = home
        self.holds = holds
        self._refs = refs
        self._kept = list(kept)
        self._there = list(there)
        self._pins: list[Hold | None] = []
        self.bytes = home.bytes_of(hold.id for hold in holds)
        """Of the store's memory, which they take while the call runs."""
        self.foretold_to: LeaseId | None = None
        self.passed_over = 0

    def needs(self) -> list[tuple[Key, int]]:
        """(an object, its bytes), of all stores."""
        here = [((self._home.id, hold.id), self._home.bytes_of([hold.id])) for hold in self.holds]
        here += self._there
        return [*here, *(((ref.store_id, ref.id), ref.size) for ref in self._refs if ref.store_id != self._home.id)]

    def needs_nothing(self) -> bool:
        """All that the call needs is in its pickle."""
        return not (self.holds or self._refs or self._kept)

    def sent(self) -> None:
        """A worker gets the call, and may look at them at any time."""
        self._pins = [self._home.hold(hold.id, HolderKind.CALL) for hold in self.holds]

    def waits(self) -> None:
        """It was taken back before it began."""
        self._pins = []

    def joined(self, holds: Iterable[Hold], kept: Iterable[Any], there: Iterable[tuple[Key, int]] = ()) -> Claim:
        """One that has these too."""
        return Claim(self._home, [*self.holds, *holds], self._refs, [*self._kept, *kept], [*self._there, *there])


class ClaimedPickle:
    """The pickled arguments of one call, and what they need."""

    __slots__ = ("claim", "pickled")

    def __init__(self, pickled: bytes, claim: Claim) -> None:
        self.pickled = pickled
        self.claim = claim


class Opened:
    """A task's ref that arrives as its value."""

    def __init__(self, payload: Payload) -> None:
        self.payload = payload

    def __reduce__(self) -> Any:
        return open_value, (self.payload.pickled, self.payload.item)


class ByValue:
    """A ref that arrives as its value."""

    def __init__(self, ref: ObjectRef) -> None:
        self.ref = ref

    def __reduce__(self) -> Any:
        return load_object, (self.ref,)


def by_value(home: Home, values: Iterable[Any], taken: dict[ObjectRef, Any]) -> list[Any]:
    """The values, with a stand-in for each ref, which `taken` gets too: one ref is one value within a pickle, like any
    object. Raises what getting a value raises of a store that the worker cannot reach. A task is waited for, and what
    it raises is raised."""
    result = []
    for value in values:
        if type(value) is TaskRef:
            promise = value.ended()
            payload = None if promise.has_failed() else payload_here(promise)
            value = value_of(promise) if payload is None else taken.setdefault(value, Opened(payload))
        elif type(value) is ObjectRef:
            can_follow = value.store_id == home.id or is_on_node(value)
            value = taken.setdefault(value, ByValue(value)) if can_follow else get_value(value)
        result.append(value)
    return result


class Payload(NamedTuple):
    """What gives the value of a promise. `item`: of what the pickle gives, or -1. `holds`: of the objects that it needs
    of this process's store; `tasks`: refs that keep what it needs; `there`: what lies on a node of that, with the
    bytes."""

    pickled: bytes
    item: int
    holds: list[Hold]
    tasks: list[TaskRef]
    there: list[tuple[Key, int]] = []  # noqa: RUF012


def payload_here(promise: Promise) -> Payload | None:
    """Of a promise that has a value. None when it needs objects of other stores: workers could not reach them all; and
    when the value is lost by now, and has to be waited for."""
    outcome = promise.outcome
    return None if outcome is None else _payload_here(promise, outcome[1])


def payload_for_task(promise: Promise) -> Payload | None:
    """The same, for a worker of this program that can ask it: values that lie on nodes can stay there."""
    outcome: Any = promise.outcome
    value = None if outcome is None else outcome[1]
    if not isinstance(value, StayingValue):
        return None if outcome is None else _payload_here(promise, value)
    PROMISES.publish(promise)
    tasks = [TaskRef(promise), *value.tasks]
    return Payload(value.address(promise.number), promise.position, [], tasks, value.objects)


def _payload_here(promise: Promise, payload: Any) -> Payload | None:
    if type(payload) is bytes:
        return Payload(payload, promise.position, [], [])
    if not all(isinstance(hold, Hold) for hold in payload.holds):
        return None
    return Payload(payload.pickled, promise.position, payload.holds, payload.tasks)


def claimed(
    home: Home, parts: Parts | bytes, taken: dict[ObjectRef, Any], named: list[ObjectRef], known: Known
) -> ClaimedPickle:
    """Store what is large; the small pickle and the claim. Raises StoreFull and ObjectLost."""
    holds: list[Hold] = []
    tasks = [ref for ref in named if isinstance(ref, TaskRef)]
    named = [ref for ref in named if not isinstance(ref, TaskRef)]
    for ref in {*taken, *named}:
        if isinstance(ref, TaskRef):
            holds += taken[ref].payload.holds
            tasks += taken[ref].payload.tasks
        elif ref.store_id == home.id:
            hold = home.hold(ref.id) if ref._hold is not None else None
            if hold is None:
                raise ObjectLost(lost_text(ref.id, ref.home_pid))
            holds.append(hold)
    named = [*named, *(ref for ref in taken if ref.store_id != home.id)]
    if type(parts) is bytes:
        return ClaimedPickle(parts, Claim(home, holds, named, tasks))
    recipe = home.keep(parts, known)  # type: ignore[arg-type]
    claim = Claim(home, [*holds, *recipe.holds], named, tasks)
    return ClaimedPickle(pickle_apart(recipe, home.id, home.pid), claim)


def beside(
    pickled: bytes | ClaimedPickle, promises: Iterable[Promise], dump: Callable[[Any], bytes | Parts]
) -> bytes | ClaimedPickle:
    """The pickled arguments of a call, which has stand-ins, with the values of promises: all have one. What lies in the
    store of another process goes through this one. Raises what pickling that raises, and StoreFull."""
    values: list[tuple[bytes, int]] = []
    holds: list[Hold] = []
    kept: list[Any] = []
    there: list[tuple[Key, int]] = []
    for promise in promises:
        payload = payload_for_task(promise)
        if payload is None:
            value = value_of(promise)
            parts, refs = noting_refs(dump, value)
            stored = claimed(home(), parts, {}, refs, Known())
            values.append((stored.pickled, -1))
            kept.append(stored.claim)
            holds += stored.claim.holds
        else:
            values.append((payload.pickled, payload.item))
            holds += payload.holds
            kept += payload.tasks
            there += payload.there
    own = pickled if type(pickled) is bytes else pickled.pickled  # type: ignore[union-attr]
    whole = pickle.dumps(WithValues(own, values), 5)
    if type(pickled) is not bytes:
        return ClaimedPickle(whole, pickled.claim.joined(holds, kept, there))  # type: ignore[union-attr]
    return ClaimedPickle(whole, Claim(home(), holds, [], kept, there)) if holds or kept else whole


class Recent(Known):
    """What was stored last of the arguments of other calls and still is there. It may have changed since then, so it is
    compared: that is quicker than to store it again, and takes no memory."""

    def __init__(self, home: Home) -> None:
        super().__init__()
        self._home = home
        # Several threads may use it: each step is one operation of the dictionary.
        self._recent: dict[Address, tuple[Piece, weakref.ref[Hold]]] = {}

    def find(self, key: Address) -> tuple[Piece, Any] | None:
        found = self._recent.pop(key, None)
        if found is None:
            return None
        piece, kept = found
        hold = kept()
        if hold is None or not self._is_same(key, piece):
            return None
        self._recent[key] = found
        return piece, hold

    def add(self, key: Address, piece: Piece, hold: Any, buffer: Buffer) -> None:
        self._recent[key] = (piece, weakref.ref(hold))
        while len(self._recent) > _RECENT:
            self._recent.pop(next(iter(self._recent)), None)

    def _is_same(self, key: Address, piece: Piece) -> bool:
        address, size = key
        object_id, offset, start, _ = piece
        view = self._home.view(object_id, offset, start + size, readonly=True)
        stored = address_of(view) + start
        return not LIBC.memcmp(address, stored, size)
