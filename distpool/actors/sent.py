"""Handles of actors that are sent: to a worker and back, in arguments, results and stored values.

A handle travels as the ref of a promise that never ends: who keeps the ref keeps the actor. In a worker its calls go
up to the program, as those of remote functions do.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any, NoReturn

import msgspec

from distpool.actors.methods import ActorMethod, ClassPlan, check_group
from distpool.actors.options import MethodOptions, merged_method_options
from distpool.base_errors import InvalidRef
from distpool.logic.promises import Promise
from distpool.objects.promises import TaskRef, is_above
from distpool.objects.refs import FROM_ABOVE
from distpool.protocol.upcalls import KillActor
from distpool.runtime.instance import Traits
from distpool.runtime.own_way_up import way_up
from distpool.runtime.promises_above import above
from distpool.store.create import is_own
from distpool.tasks.calls import Prepared, Task
from distpool.tasks.program import program


class MethodCall(msgspec.Struct, frozen=True):
    """What a worker says of a call of a method; the last of the promises that it needs is the actor's."""

    name: str
    options: MethodOptions

    @property
    def returns(self) -> int:
        """As of a remote function, with `ahead`."""
        return self.options.returns

    @property
    def ahead(self) -> int:
        return self.options.ahead

    def start(self, promises: tuple[Promise, ...], call: Prepared, needed: list[Promise], depth: int) -> None:
        """In the program."""
        actor = needed.pop()
        if is_above(actor):
            raise InvalidRef(
                f"{call.name} was called by a worker of a pool that worker {os.getpid()} has made for itself, and the "
                "actor is the program's: call it in the worker that has made the pool, and give the pool its value"
            )
        life: Any = actor.call
        method: ActorMethod = life.method(self.name, self.options)
        task = Task(life.workers, promises)
        for promise in promises:
            promise.call = task
        method.hand_in(task, call.pickled, needed)


class LifeAbove:
    """An actor of the program, in a worker."""

    def __init__(self, ref: TaskRef, class_plan: ClassPlan, traits: Traits, number: int) -> None:
        """`number`: of the actor, in its program."""
        self.ref = ref
        self.class_plan = class_plan
        self.traits = Traits(*traits)
        self.number = number
        above().is_of_actor(ref.id)

    def method(self, name: str, options: MethodOptions) -> MethodAbove:
        return MethodAbove(self, name, options)

    def reference(self) -> TaskRef:
        """What keeps the actor."""
        return self.ref

    def kill(self, *, no_restart: bool) -> None:
        """See `kill`."""
        way_up().tell(KillActor(self.ref.id, not no_restart))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LifeAbove) and (other.number, other.ref.store_id) == (self.number, self.ref.store_id)

    def __hash__(self) -> int:
        return hash(self.number)

    def __repr__(self) -> str:
        return f"<actor {self.class_plan.name} of the program, number {self.number}>"


class MethodAbove:
    """A method of an actor of the program, in a worker."""

    __slots__ = ("_call", "_life", "_name", "_parameters")

    def __init__(self, life: LifeAbove, name: str, options: MethodOptions) -> None:
        self._life = life
        self._name = f"{life.class_plan.name}.{name}"
        self._call = _method_call(name, options)
        self._parameters = life.class_plan.parameters.get(name)

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """See `ActorMethod.remote`. The calls of this worker begin in their order."""
        if self._parameters is not None:
            self._parameters.check(self._name, args, kwargs)
        promise = self._life.ref.known()
        return program().send(0, None, self._call, self._name, args, kwargs, promise)

    def options(self, **options: Any) -> MethodAbove:
        """The same with other options; see `method`."""
        merged = merged_method_options(self._call.options, options)
        check_group(merged.concurrency_group, self._life.traits.limits, self._name)
        return MethodAbove(self._life, self._call.name, merged)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"an actor's methods run in its worker: call {self._call.name}.remote(...), which gives a ref")

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} cannot be sent to another process: send the handle of its actor, and call it there")

    def __repr__(self) -> str:
        return f"<ActorMethod {self._name} of {self._life!r}>"


@cache
def _method_call(name: str, options: MethodOptions) -> MethodCall:
    """One for all actors, as each is pickled once."""
    return MethodCall(name, options)


def life_of(ref: TaskRef, class_plan: ClassPlan, traits: Traits, number: int) -> Any:
    """Where a handle arrives. Raises InvalidRef where the actor is not of this program."""
    if FROM_ABOVE and not is_own(ref.store_id):
        return LifeAbove(ref, class_plan, traits, number)
    life = None if ref._hold is None else ref._hold.call
    if life is None:
        raise InvalidRef(
            f"the handle of an actor of class {class_plan.name} has arrived in a process that it is not for: an actor "
            "is called by the program that has started it, and by the program's workers"
        )
    return life
