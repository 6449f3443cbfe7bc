"""Placement groups: room for several workers that is taken at once, or not at all.

placement_group ──► OpenPlaces ──► head: bundles on nodes ──► PlacesTold ──► ready
Pool(…, placement_group=group, bundle=0) ──► leases in that bundle

A group is its program's. A worker has its number, and asks the program how it is.
"""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from distpool.objects.refs import FROM_ABOVE
from distpool.protocol.placing import BundleStrategy, OpenPlaces
from distpool.protocol.resources import UNIT, Shape
from distpool.quantities import check_timeout, parts_of_one, size_bytes
from distpool.runtime.session import open_places
from distpool.runtime.workers import wait_briefly

_STRATEGIES = {strategy.name: strategy for strategy in BundleStrategy}
_BUNDLE_FORMS = 'a dict of amounts such as {"CPU": 1, "GPU": 0.5, "memory": "2GiB", "tpu": 1}'


class Seen(NamedTuple):
    """How a group is. `nodes`: of its bundles, or empty; `why`: they have no place; `is_refused`: and never will."""

    nodes: list[str]
    why: str
    is_refused: bool
    is_closed: bool
    failure: Exception | None = None
    """Why nothing is known of it."""

    @property
    def is_settled(self) -> bool:
        return bool(self.nodes) or self.is_refused or self.is_closed


class Places(Protocol):
    """Where a group is looked after."""

    def seen(self) -> Seen: ...

    def wait(self, timeout: float | None) -> Seen:
        """When it is settled, or after so many seconds."""
        ...

    def watch(self, then: Callable[[Seen], None]) -> None:
        """Call this once it is settled, perhaps at once, on any thread."""
        ...

    def close(self) -> None: ...


class PlacementGroup:
    """Room that is held for workers of this program; what `placement_group` returns. Workers that are sent it use it as
    the program does."""

    def __init__(self, number: int, bundle_specs: list[dict[str, Any]], strategy: str, places: Places) -> None:
        self.bundle_specs = bundle_specs
        self.strategy = strategy
        self.id = number
        self._places = places
        self._ready: Future[PlacementGroup] | None = None

    def ready(self) -> Future[PlacementGroup]:
        """A future of this group, for `get` and `wait`: it is done when all bundles have a place for the first time. It
        raises ResourcesUnavailable where they never will, and RuntimeError where the group was removed before."""
        if self._ready is None:
            future = self._ready = Future()
            future.set_running_or_notify_cancel()
            self._places.watch(lambda seen: self._fill(future, seen))
        return self._ready

    def wait(self, timeout: float | None = None) -> bool:
        """Whether all bundles have a place, after at most `timeout` seconds. Raises what `ready` raises, TypeError
        and ValueError for a time that makes no sense."""
        check_timeout(timeout)
        seen = self._places.wait(timeout)
        if seen.is_refused or seen.is_closed:
            raise self._error(seen)
        return bool(seen.nodes)

    @property
    def nodes(self) -> list[str]:
        """The names of the bundles' nodes; empty while not all have a place, also after one was lost."""
        return self._places.seen().nodes

    @property
    def why(self) -> str:
        """Why not all bundles have a place; empty when they have."""
        return self._places.seen().why

    def _fill(self, future: Future[PlacementGroup], seen: Seen) -> None:
        if seen.nodes:
            future.set_result(self)
        else:
            future.set_exception(self._error(seen))

    def _error(self, seen: Seen) -> Exception:
        from distpool.errors import ResourcesUnavailable

        if seen.failure is not None:
            return seen.failure
        return ResourcesUnavailable(seen.why) if seen.is_refused else RuntimeError(f"{self!r} was removed")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlacementGroup) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<PlacementGroup {self.id:x} {self.strategy} {self.bundle_specs}>"

    def __reduce__(self) -> Any:
        return restore_group, (self.id, self.bundle_specs, self.strategy)


class OwnPlaces:
    """Of a group of this program. Any thread may call any method."""

    def __init__(self, opening: OpenPlaces) -> None:
        self._lock = threading.Lock()
        self._watchers: list[Callable[[Seen], None]] = []
        self._is_removed = False
        self._session, self._places = open_places(opening, self._note)
        self._note()  # perhaps it was told before anybody could be told

    def seen(self) -> Seen:
        places = self._places
        return Seen(list(map(str, places.nodes)), places.why, places.is_refused, places.is_closed or self._is_removed)

    def wait(self, timeout: float | None) -> Seen:
        self._session.wait(lambda: self.seen().is_settled, timeout, wait_briefly)
        return self.seen()

    def watch(self, then: Callable[[Seen], None]) -> None:
        with self._lock:
            seen = self.seen()
            if not seen.is_settled:
                self._watchers.append(then)
                return
        then(seen)

    def unwatch(self, then: Callable[[Seen], None]) -> None:
        """Do not call it, unless that has happened."""
        with self._lock:
            if then in self._watchers:
                self._watchers.remove(then)

    def close(self) -> None:
        self._is_removed = True  # seen at once, also where another thread sends it
        self._session.close_places(self._places.opening.group)

    def _note(self) -> None:
        """There is news, on the loop's thread."""
        if not hasattr(self, "_places"):
            return
        seen = self.seen()
        if not seen.is_settled:
            return
        if seen.is_closed:
            _own.pop(self._places.opening.group, None)
        with self._lock:
            watchers, self._watchers = self._watchers, []
        for then in watchers:
            then(seen)


class _Gone:
    """Of a group that was removed, or is another program's."""

    def seen(self) -> Seen:
        return Seen([], "it was removed, or is another program's", is_refused=False, is_closed=True)

    def wait(self, timeout: float | None) -> Seen:
        return self.seen()

    def watch(self, then: Callable[[Seen], None]) -> None:
        then(self.seen())

    def unwatch(self, then: Callable[[Seen], None]) -> None:
        """It was called at once."""

    def close(self) -> None:
        """It is."""


_own: dict[int, PlacementGroup] = {}
"""Those of this program that were not removed, by their number."""


def placement_group(bundles: Sequence[Mapping[str, Any]], strategy: str = "PACK") -> PlacementGroup:
    """Take room for all of `bundles`, or for none until there is room for all.

    A bundle is a dict of amounts, such as {"CPU": 1, "GPU": 0.5, "memory": "2GiB", "tpu": 1}, on one node. `strategy`:
    "PACK" (on few nodes if it can be), "SPREAD" (on many), "STRICT_PACK" (on one), "STRICT_SPREAD" (each on another).
    Tasks, actors, pools and executors use the room with `placement_group=` and, for one bundle, `bundle=`. It is held
    until `remove_placement_group`, or the end of the program. When a node is lost its bundles get another place once
    there is room, and the group is not ready meanwhile. A group that a worker has made is one of its program.

    Raises TypeError and ValueError that list what is valid. See `ready` for bundles that no nodes can ever have.
    """
    if isinstance(bundles, (str, Mapping)) or not isinstance(bundles, Sequence) or not bundles:
        raise TypeError(f"bundles is {bundles!r}; it must be a list of at least one bundle, {_BUNDLE_FORMS}")
    if strategy not in _STRATEGIES:
        raise ValueError(f"strategy is {strategy!r}; it must be one of {', '.join(_STRATEGIES)}")
    shapes = [_shape_of_bundle(number, bundle) for number, bundle in enumerate(bundles)]
    specs = list(map(dict, bundles))
    number = int.from_bytes(os.urandom(7), "little")
    if FROM_ABOVE:
        above = import_module("distpool.tasks.places_above").PlacesAbove(number)
        above.open(specs, shapes, strategy)
        return PlacementGroup(number, specs, strategy, above)
    return open_group(number, specs, shapes, strategy)


def open_group(number: int, specs: list[dict[str, Any]], shapes: list[Shape], strategy: str) -> PlacementGroup:
    """In the program: one of this number, which no other has."""
    group = PlacementGroup(number, specs, strategy, OwnPlaces(OpenPlaces(number, shapes, BundleStrategy[strategy])))
    _own[number] = group
    group.ready()  # from now on
    return group


def places_of(number: int) -> OwnPlaces | _Gone:
    """In the program."""
    group = _own.get(number)
    return _Gone() if group is None else group._places  # type: ignore[return-value]


def pickled_group(number: int) -> bytes:
    """In the program; empty where it is gone."""
    group = _own.get(number)
    return b"" if group is None else pickle.dumps(group, 5)


def remove_placement_group(group: PlacementGroup) -> None:
    """Give the room back; the workers in it end, and so do their calls. Said twice, it changes nothing."""
    if not isinstance(group, PlacementGroup):
        raise TypeError(f"{group!r} is a {type(group).__name__}; it must be what placement_group returned")
    group._places.close()


def restore_group(number: int, specs: list[dict[str, Any]], strategy: str) -> PlacementGroup:
    """Where a group arrives."""
    if FROM_ABOVE:
        return PlacementGroup(number, specs, strategy, import_module("distpool.tasks.places_above").PlacesAbove(number))
    return _own.get(number) or PlacementGroup(number, specs, strategy, _Gone())


def _shape_of_bundle(number: int, bundle: object) -> Shape:
    if not isinstance(bundle, Mapping) or not bundle:
        raise TypeError(f"bundle {number} is {bundle!r}; it must be {_BUNDLE_FORMS}")
    custom = {}
    amounts = {"CPU": 0, "GPU": 0, "memory": 0}
    for name, value in bundle.items():
        where = f"bundle {number}[{name!r}]"
        if not isinstance(name, str) or not name or not name.isprintable():
            raise ValueError(f"bundle {number} has the name {name!r}; names are texts that can be printed")
        if name == "memory":
            amounts[name] = size_bytes(value, where, smallest=0)
        elif name in amounts:
            amounts[name] = parts_of_one(value, where)
        else:
            custom[name] = parts_of_one(value, where)
    if amounts["GPU"] > UNIT and amounts["GPU"] % UNIT:
        raise ValueError(f"bundle {number}['GPU'] is {bundle['GPU']!r}; it must be a share below 1, or whole GPUs")
    named = tuple(sorted((name, amount) for name, amount in custom.items() if amount))
    if not any(amounts.values()) and not named:
        raise ValueError(f"bundle {number} is {bundle!r}, which needs nothing; it must be {_BUNDLE_FORMS}")
    return Shape(amounts["CPU"], amounts["GPU"], amounts["memory"], 0, named)
