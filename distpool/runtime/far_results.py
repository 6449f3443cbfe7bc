"""What workers on nodes say, held back until the results that it tells of are here.

So a call has ended when its caller has its value, and is lost with its node until then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from distpool.base_errors import ObjectLost, ProtocolError
from distpool.ids import GroupId, LeaseId, NodeId
from distpool.logic.group import Group
from distpool.logic.lineage import Remembered
from distpool.objects.copies import Copy
from distpool.objects.promises import LOCK
from distpool.objects.results import StoredValue
from distpool.protocol.messages import CallsDone, GroupGone, LeaseLost, Message, OutcomeKind, StreamItems
from distpool.protocol.objects import ReleaseObjects
from distpool.protocol.store import StoredResult
from distpool.runtime.far_objects import FarObjects
from distpool.serialization.remote_errors import encode_failure

_STORED = int(OutcomeKind.STORED)


class Pending(msgspec.Struct):
    """Something that a worker has said. `missing`: so many objects have yet to come before it may be heard."""

    message: Any
    node: NodeId | None
    missing: int = 0


class FarResults:
    """Owned by whoever holds the loop."""

    def __init__(
        self, objects: FarObjects, say: Callable[[NodeId, Message], None], lineage_limit_bytes: int = 0
    ) -> None:
        """`lineage_limit_bytes`: how much those calls may take together whose values stay on their nodes."""
        self.group_of: Callable[[LeaseId], Group | None] = lambda lease: None
        """That of a lease, which knows the calls that its worker has."""
        self.remembered = Remembered(lineage_limit_bytes)
        self._ended: dict[LeaseId, int] = {}  # calls of each worker that it has told the end of
        self._objects = objects
        self._say = say
        self._pending: dict[LeaseId, deque[Pending]] = {}
        self._gone: list[GroupGone] = []
        # By the message: values, and the tasks whose refs are in them.
        self._named: dict[int, list[tuple[StoredValue, list[int]]]] = {}
        self._ready: deque[tuple[LeaseId | None, Message]] = deque()

    def said(self, lease: LeaseId, node: NodeId | None, message: Any, now: float) -> None:
        """By a worker (or of it: then without its `node`). Raises ProtocolError for a result that is none."""
        pending = Pending(message, node)
        if isinstance(message, LeaseLost):
            self._ended.pop(lease, None)
        if isinstance(message, CallsDone | StreamItems) and node is not None:
            self._adopt_all(lease, node, pending, now)
        queue = self._pending.get(lease)
        if queue is None and not pending.missing:
            self._make_ready(lease, pending)
            return
        self._pending.setdefault(lease, deque()).append(pending)

    def group_gone(self, message: GroupGone) -> None:
        """Not before the end of its workers was told."""
        self._gone.append(message)

    def heard(self) -> Iterator[tuple[LeaseId | None, Message]]:
        """What can be heard now, in order, and by the worker of which lease it was said."""
        while self._ready:
            yield self._ready.popleft()
        for message in list(self._gone):
            if not self._waits_for(message):
                self._gone.remove(message)
                yield None, message

    def name_tasks(self, message: Message) -> None:
        """These results are about to be heard, and what their worker had said before them was: it may be of tasks that
        are named in them."""
        for value, tasks in self._named.pop(id(message), ()):
            value.name_tasks(tasks)

    def _waits_for(self, gone: GroupGone) -> bool:
        return any(_tells_end_in(gone.group, pending) for queue in self._pending.values() for pending in queue)

    def node_gone(self, node: NodeId) -> None:
        """What its workers have said of results that are not here is not heard: they are lost."""
        self._drop([lease for lease, queue in self._pending.items() if any(one.node == node for one in queue)])

    def group_ended(self, group: GroupId, leases: Iterable[LeaseId]) -> None:
        """Nobody wants results of it any more. `leases`: those that it has."""
        ended = [lease for lease, queue in self._pending.items() if any(_tells_end_in(group, one) for one in queue)]
        self._drop([*leases, *ended])

    def _drop(self, leases: list[LeaseId]) -> None:
        """What was said by these workers is not heard; what was said of them is."""
        for lease in leases:
            if lease in self._pending:
                for pending in self._pending[lease]:
                    self._named.pop(id(pending.message), None)
                self._pending[lease] = deque(pending for pending in self._pending[lease] if pending.node is None)
                self._release(lease)

    def _adopt_all(self, lease: LeaseId, node: NodeId, pending: Pending, now: float) -> None:
        outcomes = pending.message.outcomes
        # There may be thousands, and mostly none of these.
        for position in [position for position, outcome in enumerate(outcomes) if outcome[0] == _STORED]:
            self._adopt(lease, node, pending, position, outcomes[position][1], now)
        if isinstance(pending.message, CallsDone):
            self._ended[lease] = self._ended.get(lease, 0) + len(outcomes)

    def _adopt(self, lease: LeaseId, node: NodeId, pending: Pending, position: int, told: bytes, now: float) -> None:
        """Put in the place of one outcome what stands for it here, and have its objects brought here."""
        objects = self._objects
        try:
            result = msgspec.msgpack.decode(told, type=StoredResult)
        except msgspec.MsgspecError as error:
            raise ProtocolError(f"it tells of a stored result that is none: {error}") from None
        if not objects.knows(node):
            raise ProtocolError("it tells of a stored result, and not of its store")
        holds: list[Any] = [*objects.made_on(node, result.named), *objects.keep(result.foreign)]
        outcomes = pending.message.outcomes
        value = self._left_there(lease, node, pending, position, result, holds)
        stays = value is not None
        if value is None:
            value = StoredValue(result.pickled, holds, ())
        outcomes[position] = OutcomeKind.STORED, value
        if result.tasks:
            self._named.setdefault(id(pending.message), []).append((value, result.tasks))
        if stays or not result.made:
            return
        pending.missing += 1
        left = set(result.made)

        def arrived(copy: Copy) -> None:
            left.discard(copy.key[1])
            if copy.failure and outcomes[position][0] == OutcomeKind.STORED:
                error = ObjectLost(f"the result of a call on node {node} did not come: {copy.failure}")
                outcomes[position] = OutcomeKind.ERROR, encode_failure(error)
            if not left:
                self._say(node, ReleaseObjects([(object_id, 1) for object_id in result.made]))
                pending.missing -= 1
                self._release(lease)

        holds.extend(objects.fetch(node, result.made, arrived, now))

    def _left_there(
        self, lease: LeaseId, node: NodeId, pending: Pending, position: int, result: StoredResult, holds: list[Any]
    ) -> StoredValue | None:
        """What stands for a value that stays on its node, as its call may run again when that is lost, and is
        remembered; None: it has to be brought here."""
        if not result.made or not isinstance(pending.message, CallsDone):
            return None
        group = self.group_of(lease)
        bundle = None if group is None else group.leases[lease].bundle_of(self._ended.get(lease, 0) + position)
        lineage = None if bundle is None else getattr(bundle.sink, "lineage", None)
        if bundle is None or lineage is None:
            return None
        retries_left = lineage.retries_after(bundle.sink, bundle.options.retries - bundle.attempts)
        if retries_left <= 0 or not self.remembered.keep(id(lineage), lineage.size(), lineage.objects()):
            return None
        lineage.is_remembered(str(node), self.remembered.drop)
        made = self._objects.made_on(node, result.made)
        value = self._objects.values.leave(node, result, made, holds, lineage)
        with LOCK:
            lineage.stays(value, retries_left)
        return value

    def _make_ready(self, lease: LeaseId, pending: Pending) -> None:
        self._ready.append((None if pending.node is None else lease, pending.message))

    def _release(self, lease: LeaseId) -> None:
        queue = self._pending.get(lease)
        if queue is None:
            return
        while queue and not queue[0].missing:
            self._make_ready(lease, queue.popleft())
        if not queue:
            del self._pending[lease]


def _tells_end_in(group: GroupId, pending: Pending) -> bool:
    return isinstance(pending.message, LeaseLost) and pending.message.group == group
