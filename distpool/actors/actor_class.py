"""`ActorClass`: a class whose instances are actors."""

from __future__ import annotations

from collections.abc import Mapping
from functools import update_wrapper
from importlib import import_module
from types import MappingProxyType
from typing import Any

from distpool.actors.foreign import pickled_construction
from distpool.actors.handle import ActorHandle
from distpool.actors.life import Life
from distpool.actors.methods import ClassPlan, plan_of, traits_of
from distpool.actors.names import begun
from distpool.actors.options import ActorOptions, merged_actor_options
from distpool.objects.refs import FROM_ABOVE
from distpool.tasks.parameters import parameters_of


def actor_class(cls: type, given: Mapping[str, Any] = MappingProxyType({}), /, **options: Any) -> ActorClass:
    """A class whose `remote` starts an actor, with these options.

    `max_restarts`: how often it is started again, by its constructor, after the death of its worker; -1 is always.
    `max_task_retries`: how often a call that was lost with a worker may run again after that. `max_concurrency`: how
    many calls run beside each other, on threads; 1000 on an event loop if the class has async methods.
    `concurrency_groups`: {"io": 2}, groups of methods with limits of their own. `name`, `namespace`: by which
    `get_actor` finds it. `get_if_exists`: have the actor of this name, if there is one. `lifetime`: "detached" lives
    until it is killed, and not only while it has a handle; on a cluster also when this program has ended.

    Raises TypeError and ValueError that list what is valid.
    """
    if not isinstance(cls, type):
        raise TypeError(f"an actor is made of a class, not of {cls!r}, a {type(cls).__name__}")
    return ActorClass(cls, plan_of(cls), merged_actor_options(ActorOptions(), {**given, **options}))


class ActorClass:
    """What `remote` makes of a class: `remote` starts an actor, `options` gives the same with other options."""

    def __init__(self, cls: type, plan: ClassPlan, options: ActorOptions) -> None:
        """Raises ValueError for a method in a concurrency group that the class does not have."""
        traits_of(plan, options)
        self._class = cls
        self._plan = plan
        self._options = options
        self._parameters = parameters_of(cls)
        update_wrapper(self, cls, updated=())

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle:
        """Start an actor, with these arguments for its constructor; does not wait for it. In a worker its program does
        so, and it is an actor of the program.

        Raises TypeError when the constructor does not take such arguments, what pickling them raises, and ValueError
        when another actor has its name. On a cluster, of one that is detached or has a name: HeadUnreachable.
        """
        if self._parameters is not None:
            self._parameters.check(self._plan.name, args, kwargs)
        if FROM_ABOVE:
            start: Any = import_module("distpool.actors.above").start
            return ActorHandle(start(self._class, self._plan, self._options, args, kwargs))
        life = Life(self._plan, self._options)
        return ActorHandle(
            begun(
                life,
                lambda: life.begin(self._class, args, kwargs),
                lambda main: pickled_construction(main, self._class, life.traits, args, kwargs),
            )
        )

    def options(self, **options: Any) -> ActorClass:
        """This class with other options; see `actor_class`."""
        return ActorClass(self._class, self._plan, merged_actor_options(self._options, options))

    def __getattr__(self, name: str) -> Any:
        """Nothing: a method is an actor's."""
        plan: ClassPlan | None = self.__dict__.get("_plan")
        text = f"{type(self).__name__!r} object has no attribute {name!r}"
        if plan is not None and name in plan.methods:
            text += f": {plan.name} is the class of an actor, so start one with {plan.name}.remote(...), and call its "
            text += f"{name}.remote(...)"
        raise AttributeError(text, name=name, obj=self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{self._plan.name} is the class of an actor: start one with {self._plan.name}.remote(...)")

    def __repr__(self) -> str:
        return f"<ActorClass {self._plan.name}>"
