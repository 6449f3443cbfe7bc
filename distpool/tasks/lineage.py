"""The calls of tasks whose values stay on the nodes where they were made: when those are lost, they run again.

node lost ──► FarObjects ──► Lineage.lose ──► promises pending again ──► a task for them ──► group
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from distpool.base_errors import ObjectLost
from distpool.ids import Key
from distpool.logic.calls import Outcome
from distpool.logic.lineage import Lineage
from distpool.logic.promises import Promise
from distpool.objects.claims import ClaimedPickle
from distpool.objects.promises import LOCK, promise_for
from distpool.objects.stores import home
from distpool.protocol.messages import OutcomeKind
from distpool.serialization.remote_errors import encode_failure
from distpool.tasks.calls import Prepared, RepeatedTask, Task, WaitingTask, hand_in

_OWN_BYTES = 1024
"""That a remembered call takes beside its arguments."""

_FIRST = 1 << 62
"""The priority of what is made again: others wait for it, in workers too, and must not take its place."""


class TaskLineage(Lineage):
    """Of one task."""

    def __init__(self, task: Task, call: Prepared, needed: list[Promise]) -> None:
        super().__init__(task.promises, needed, _retries_left(task, call.options.retries))
        self.workers = task.workers
        self._retried = task.retried if isinstance(task, RepeatedTask) else None
        self._call = msgspec.structs.replace(call, pickled=_apart_from_its_run(call.pickled))
        self._node = ""
        self._forget: Callable[[int], None] | None = None

    # For who decides which values stay ------------------------------------------------------------------------------

    def retries_after(self, task: Task, retries_left: int) -> int:
        """How often it may run again, if its group has so many retries left for it."""
        return _retries_left(task, retries_left)

    def size(self) -> int:
        """Bytes that it takes while it is remembered."""
        pickled = self._call.pickled
        return _OWN_BYTES + len(pickled if type(pickled) is bytes else pickled.pickled)

    def objects(self) -> list[tuple[Key, int]]:
        """What it needs of this process's store, with the bytes of each."""
        pickled = self._call.pickled
        needs = [] if type(pickled) is bytes else pickled.claim.needs()
        return [(key, size) for key, size in needs if key[0] == home().id]

    def is_remembered(self, node: str, forget: Callable[[int], None]) -> None:
        """Its value stays on this node. `forget` is told of the end of the lineage, at any place, by its `id`."""
        self._node = node
        self._forget = forget

    def __del__(self) -> None:
        if self._forget is not None:
            self._forget(id(self))

    # When its value is lost -----------------------------------------------------------------------------------------

    def new_promise(self, name: str, position: int) -> Promise:
        return promise_for(name, position)

    def new_task(self, promises: tuple[Promise, ...]) -> Task:
        if self._retried is None:
            return Task(self.workers, promises, self)
        return RepeatedTask(self.workers, promises, self, self._retried, self.retries_left)

    def gone(self) -> Outcome:
        text = (
            f"the value of {self.name}, which lay on node {self._node!r} last, is gone, and was made again as often as "
            f"it may be. Keep its ref while others need it, or allow more by {self.name}.options(retries=...)"
        )
        return OutcomeKind.ERROR, encode_failure(ObjectLost(text))

    @staticmethod
    def hand_in(tasks: Iterable[Task]) -> None:
        """By whoever holds the loop, at rest: have these make their values again, and others what they need of what is
        gone."""
        waiting = deque(tasks)
        while waiting:
            task = waiting.popleft()
            lineage: TaskLineage = task.lineage
            with LOCK:
                needed, more = lineage.needed()
            waiting.extend(more)
            call = lineage._call_again()
            if isinstance(task, RepeatedTask):
                task.call = call
            if needed:
                WaitingTask(task, call, needed, task.workers.arguments.dump).begin()
            else:
                hand_in(task, call)

    def _call_again(self) -> Prepared:
        """What its task is handed in with: before all others, with what is left of its retries."""
        retries = 0 if self._retried is not None else self.retries_left
        options = msgspec.structs.replace(self._call.options, retries=retries, priority=_FIRST)
        return msgspec.structs.replace(self._call, pickled=_apart_from_its_run(self._call.pickled), options=options)


def remember(task: Task, call: Prepared, needed: list[Promise]) -> None:
    """Before it is handed in: so that its value may stay where it is made."""
    if task.workers.group.plan.is_far and _retries_left(task, call.options.retries) > 0:
        task.lineage = TaskLineage(task, call, needed)


def _retries_left(task: Task, of_group: int) -> int:
    return task.retries_left if isinstance(task, RepeatedTask) else of_group


def _apart_from_its_run(pickled: Any) -> Any:
    """The same with a claim of its own: that of a call that is sent keeps its objects in memory."""
    return pickled if type(pickled) is bytes else ClaimedPickle(pickled.pickled, pickled.claim.joined((), ()))
