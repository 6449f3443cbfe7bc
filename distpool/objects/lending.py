"""What the owner of a store does for the workers that use it."""

from __future__ import annotations

from collections.abc import Iterable

from distpool.base_errors import ObjectLost
from distpool.ids import LeaseId, ObjectId
from distpool.logic.stock import Holder, HolderKind, as_holder
from distpool.objects.home import Hold, Home
from distpool.objects.segments import Room


class Lending:
    """The dealings of one worker with a store: what it holds, it holds as one holder."""

    def __init__(self, home: Home, lease: LeaseId) -> None:
        self._home = home
        self._worker = Holder(HolderKind.WORKER, lease)

    def reserve(self, size: int) -> Room:
        """Memory for an object that the worker writes. Raises StoreFull."""
        return self._home.allocate(size, self._worker)

    def hold(self, objects: Iterable[ObjectId], *, in_memory: bool) -> list[ObjectId]:
        """The worker keeps these; those that are gone. With `in_memory` they are fetched from disk, which raises
        StoreFull when there is no room."""
        gone = []
        with self._home.locked() as shelf:
            for object_id in objects:
                if not in_memory:
                    if not shelf.hold(object_id, self._worker):
                        gone.append(object_id)
                    continue
                try:
                    shelf.bring_in(object_id, self._worker)
                except ObjectLost:
                    gone.append(object_id)
        return gone

    def name(self, object_id: ObjectId, named: Iterable[ObjectId]) -> None:
        """An object that the worker has made names these."""
        with self._home.locked() as shelf:
            for inner in named:
                shelf.hold(inner, as_holder(object_id))

    def adopt(self, made: Iterable[ObjectId], named: Iterable[ObjectId]) -> list[Hold]:
        """A result has come: the holds of the objects that the worker made for it, and of those that it names."""
        holds = [hold for object_id in [*made, *named] if (hold := self._home.hold(object_id)) is not None]
        self.drop(made)
        return holds

    def drop(self, objects: Iterable[ObjectId], *, unwritten: bool = False) -> None:
        """The worker keeps these no more. `unwritten`: not all could be written that was to lie in them."""
        with self._home.locked() as shelf:
            for object_id in objects:
                if unwritten:
                    shelf.forget_memory(object_id)
                shelf.release(object_id, self._worker)

    def end(self) -> None:
        """The worker has ended."""
        with self._home.locked() as shelf:
            shelf.drop(self._worker)
