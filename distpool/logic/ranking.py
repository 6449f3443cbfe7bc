"""The nodes that one shape fits on, the best first, kept up to date as nodes change.

A heap with an entry for each node and change of it; entries that are older than the node's last change are dropped when
they come up. Who asks again after k nodes have changed looks at these k only.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heapify, heappop, heappush

from distpool.ids import NodeId
from distpool.logic.resources import Room
from distpool.protocol.resources import Shape

_STALE_LIMIT = 64
_Entry = tuple[tuple[float, ...], NodeId, int]


class Changes:
    """Which nodes have changed since when: each change has a number."""

    def __init__(self) -> None:
        # The node that has changed last stands last.
        self.last: dict[NodeId, int] = {}
        self.number = 0

    def note(self, node: NodeId) -> None:
        self.number += 1
        self.last.pop(node, None)
        self.last[node] = self.number

    def forget(self, node: NodeId) -> None:
        self.number += 1
        self.last.pop(node, None)


class Ranking:
    """Of one shape."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._heap: list[_Entry] = []
        self._seen = 0

    def catch_up(self, rooms: Mapping[NodeId, Room], changes: Changes) -> None:
        """`rooms`: of the nodes that get leases."""
        if self._seen == changes.number:
            return
        if len(self._heap) > _STALE_LIMIT + 4 * len(rooms):
            self._heap = [entry for entry in self._heap if changes.last.get(entry[1]) == entry[2]]
            heapify(self._heap)
        shape, heap = self._shape, self._heap
        changed = []
        for node, number in reversed(changes.last.items()):
            if number <= self._seen:
                break
            room = rooms.get(node)
            if room is not None and room.seems_to_fit(shape):
                changed.append((room.rank(shape), node, number))
        self._seen = changes.number
        if len(changed) > len(heap):
            heap += changed
            heapify(heap)
        else:
            for entry in changed:
                heappush(heap, entry)

    def pop(self, rooms: Mapping[NodeId, Room], changes: Changes) -> _Entry | None:
        """The best node, which does not come again before it has changed or was put back. None: there is none."""
        heap = self._heap
        while heap:
            entry = heappop(heap)
            if changes.last.get(entry[1]) == entry[2] and entry[1] in rooms:
                return entry
        return None

    def put_back(self, entry: _Entry) -> None:
        heappush(self._heap, entry)
