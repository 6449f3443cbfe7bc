"""`ActorHandle`, through which an actor's methods are called, and `kill`."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import Any

from distpool.actors.foreign import ForeignLife
from distpool.actors.life import Life
from distpool.actors.methods import ActorMethod, ClassPlan
from distpool.objects.promises import TaskRef
from distpool.runtime.instance import Traits


class ActorHandle:
    """A handle of one actor: `handle.method.remote(...)` calls a method there."""

    _life: Life | ForeignLife

    def __init__(self, life: Life | ForeignLife) -> None:
        self.__dict__["_life"] = life

    def __getattr__(self, name: str) -> ActorMethod:
        """Its methods; each is looked up once."""
        life: Life | ForeignLife = self.__dict__["_life"]
        plan = life.class_plan
        if name not in plan.methods:
            close = get_close_matches(name, plan.methods, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise AttributeError(f"actor class {plan.name} has no method {name!r}{hint}", name=name, obj=self)
        # It refers to the life and not to this handle, so that there is no cycle and the last handle's end is seen.
        method: ActorMethod = life.method(name, plan.methods[name])
        self.__dict__[name] = method
        return method

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(
            f"{name!r} cannot be set through a handle: the actor lives in its worker, where its methods set it",
            name=name,
            obj=self,
        )

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._life.class_plan.methods})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorHandle) and other._life == self._life

    def __hash__(self) -> int:
        return hash(self._life.number)

    def __reduce__(self) -> Any:
        life = self._life
        return restore_handle, (life.reference(), life.class_plan, life.traits, life.number)

    def __repr__(self) -> str:
        return f"<ActorHandle of {self._life!r}>"


def restore_handle(ref: TaskRef, class_plan: ClassPlan, traits: Traits, number: int) -> ActorHandle:
    """Where a handle arrives."""
    return ActorHandle(import_module("distpool.actors.sent").life_of(ref, class_plan, traits, number))


def kill(actor: ActorHandle, *, no_restart: bool = True) -> None:
    """End an actor now: its calls raise ActorDied. With `no_restart=False` only its worker ends, and what comes of that
    `max_restarts` says. To kill one that is dead does nothing. In a worker its program does so.

    Raises TypeError for anything but a handle.
    """
    if not isinstance(actor, ActorHandle):
        remedy = ": distpool.cancel ends a task" if isinstance(actor, TaskRef) else ""
        raise TypeError(f"kill takes the handle of an actor, not {actor!r}, a {type(actor).__name__}{remedy}")
    if not isinstance(no_restart, bool):
        raise TypeError(f"no_restart is {no_restart!r}, a {type(no_restart).__name__}; it must be True or False")
    actor._life.kill(no_restart=no_restart)
