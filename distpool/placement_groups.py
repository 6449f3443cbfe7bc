"""Placement groups: room for several workers that is taken at once, or not at all.

placement_group ──► OpenPlaces ──► head: bundles on nodes ──► PlacesTold ──► ready
Pool(…, placement_group=group, bundle=0) ──► leases in that bundle
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any

from distpool.protocol.placing import BundleStrategy, OpenPlaces
from distpool.protocol.resources import UNIT, Shape
from distpool.quantities import parts_of_one, size_bytes
from distpool.runtime.session import open_places
from distpool.runtime.workers import wait_briefly

_STRATEGIES = {strategy.name: strategy for strategy in BundleStrategy}
_BUNDLE_FORMS = 'a dict of amounts such as {"CPU": 1, "GPU": 0.5, "memory": "2GiB", "tpu": 1}'


class PlacementGroup:
    """Room that is held for workers of this program; what `placement_group` returns."""

    def __init__(self, bundle_specs: list[dict[str, Any]], shapes: list[Shape], strategy: BundleStrategy) -> None:
        self.bundle_specs = bundle_specs
        self.strategy = strategy.name
        self.id = int.from_bytes(os.urandom(7), "little")
        self._ready: Future[PlacementGroup] = Future()
        self._session, self._places = open_places(OpenPlaces(self.id, shapes, strategy), self._note)
        self._note()  # perhaps it was told before anybody could be told

    def ready(self) -> Future[PlacementGroup]:
        """A future of this group, for `get` and `wait`: it is done when all bundles have a place for the first time. It
        raises ResourcesUnavailable where they never will, and RuntimeError where the group was removed before."""
        return self._ready

    def wait(self, timeout: float | None = None) -> bool:
        """Whether all bundles have a place, after at most `timeout` seconds. Raises what `ready` raises."""
        self._session.wait(self._is_settled, timeout, wait_briefly)
        if self._places.is_refused or self._places.is_closed:
            raise self._error()
        return bool(self._places.nodes)

    @property
    def nodes(self) -> list[str]:
        """The names of the bundles' nodes; empty while not all have a place, also after one was lost."""
        return list(map(str, self._places.nodes))

    @property
    def why(self) -> str:
        """Why not all bundles have a place; empty when they have."""
        return self._places.why

    def _is_settled(self) -> bool:
        return bool(self._places.nodes) or self._places.is_refused or self._places.is_closed

    def _error(self) -> Exception:
        from distpool.errors import ResourcesUnavailable

        if self._places.is_refused:
            return ResourcesUnavailable(self._places.why)
        return RuntimeError(f"{self!r} was removed")

    def _note(self) -> None:
        if not hasattr(self, "_places") or not self._is_settled():
            return
        with suppress(InvalidStateError):  # it was told of before
            if self._places.nodes:
                self._ready.set_result(self)
            else:
                self._ready.set_exception(self._error())

    def __repr__(self) -> str:
        return f"<PlacementGroup {self.id:x} {self.strategy} {self.bundle_specs}>"

    def __reduce__(self) -> Any:
        raise TypeError(f"{self!r} belongs to this program: it cannot be sent to workers, or to others")


def placement_group(bundles: Sequence[Mapping[str, Any]], strategy: str = "PACK") -> PlacementGroup:
    """Take room for all of `bundles`, or for none until there is room for all.

    A bundle is a dict of amounts, such as {"CPU": 1, "GPU": 0.5, "memory": "2GiB", "tpu": 1}, on one node. `strategy`:
    "PACK" (on few nodes if it can be), "SPREAD" (on many), "STRICT_PACK" (on one), "STRICT_SPREAD" (each on another).
    Pools and executors use the room with `placement_group=` and, for one bundle, `bundle=`. It is held until
    `remove_placement_group`, or the end of the program. When a node is lost its bundles get another place once there is
    room, and the group is not ready meanwhile.

    Raises TypeError and ValueError that list what is valid. See `ready` for bundles that no nodes can ever have.
    """
    if isinstance(bundles, (str, Mapping)) or not isinstance(bundles, Sequence) or not bundles:
        raise TypeError(f"bundles is {bundles!r}; it must be a list of at least one bundle, {_BUNDLE_FORMS}")
    if strategy not in _STRATEGIES:
        raise ValueError(f"strategy is {strategy!r}; it must be one of {', '.join(_STRATEGIES)}")
    shapes = [_shape_of_bundle(number, bundle) for number, bundle in enumerate(bundles)]
    return PlacementGroup(list(map(dict, bundles)), shapes, _STRATEGIES[strategy])


def remove_placement_group(group: PlacementGroup) -> None:
    """Give the room back; the workers in it end, and so do their calls. Said twice, it changes nothing."""
    if not isinstance(group, PlacementGroup):
        raise TypeError(f"{group!r} is a {type(group).__name__}; it must be what placement_group returned")
    group._session.close_places(group.id)


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
