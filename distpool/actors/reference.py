"""What the handle of an actor travels as: the ref of a promise that never ends, and keeps the actor."""

from __future__ import annotations

import weakref

from distpool.actors.methods import ClassPlan
from distpool.logic.promises import Promise
from distpool.objects.promises import TaskRef, promise_for


class Referable:
    """An actor, of this program or of another one, whose handles can be sent."""

    class_plan: ClassPlan
    _promise: weakref.ref[Promise] | None = None

    def reference(self) -> TaskRef:
        """Who keeps the ref keeps this."""
        # Not kept here: nothing collects a cycle with a promise.
        promise = None if self._promise is None else self._promise()
        if promise is None:
            promise = promise_for(f"actor {self.class_plan.name}")
            promise.call = self
            self._promise = weakref.ref(promise)
        return TaskRef(promise)
