"""One actor of this program, for as long as anybody has a handle of it: its workers, and what calls need to know."""

from __future__ import annotations

import weakref
from itertools import count
from typing import Any

from distpool.actors.methods import ClassPlan, traits_of
from distpool.actors.options import ActorOptions
from distpool.context import cpu_count_for_pools, get_context
from distpool.logic.actor_plan import ActorPlan, ActorState
from distpool.logic.calls import Outcome
from distpool.logic.group_plan import GroupPlan
from distpool.pool import check_may_have_children, start_method_prefix
from distpool.runtime.instance import Method, construct
from distpool.runtime.launcher import LaunchPlan
from distpool.runtime.session import open_workers
from distpool.runtime.workers import Workers

_numbers = count(1)


class Life:
    """When the last handle is gone, the actor ends after its queued calls; unless it is detached."""

    def __init__(self, actor_class: type, class_plan: ClassPlan, options: ActorOptions) -> None:
        """Its worker starts with `begin`. Raises ValueError for a method in an unknown concurrency group."""
        self.number = next(_numbers)
        self.class_plan = class_plan
        self.options = options
        self.traits = traits_of(class_plan, options)
        self._class = actor_class
        self._methods: set[Method] = set()

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Start it, with these arguments for its constructor. Raises what pickling them raises."""
        start_method = get_context().get_start_method()
        check_may_have_children(start_method)
        prefix = start_method_prefix(start_method)
        plan = ActorPlan(self.class_plan.name, self.options.max_restarts, self.traits.limits)
        open_workers(
            GroupPlan(1, on_demand=True, actor=plan),
            LaunchPlan(
                start_method,
                cpu_count_for_pools(),
                f"{prefix}Actor",
                False,
                None,
                (),
                extended_results=True,
                shares=f"actors {start_method}",
            ),
            self._own,
        )
        try:
            arguments = self.workers.arguments
            values = (self._class, tuple(self.traits), *args)
            function_id, call = arguments.pickle_call(construct, values, kwargs)
        except BaseException:
            self.workers.terminate(text="its constructor's arguments cannot be pickled")
            raise
        self.workers.hand_in_call(function_id, call, _Nobody(), name=f"{self.class_plan.name}.__init__")
        self.workers.poke()

    def _own(self, workers: Workers) -> None:
        self.workers = workers
        weakref.finalize(self, _close_if_owned, workers).atexit = False

    def know_method(self, method: Method) -> None:
        """From now on calls of it travel with an id."""
        if method not in self._methods:
            self._methods.add(method)
            self.workers.arguments.add_function(method, f"{self.class_plan.name}.{method.name}")

    @property
    def state(self) -> ActorState:
        """As it is now; by the time that somebody reads it, it may have changed."""
        return self.workers.group.stage  # type: ignore[attr-defined, no-any-return]

    def __repr__(self) -> str:
        name = f" {self.options.name!r}" if self.options.name else ""
        return f"<actor {self.class_plan.name}{name}, number {self.number}, {self.state.name}>"


class _Nobody:
    """The sink of the constructor's call: what becomes of it, the actor's calls tell."""

    def begin(self) -> bool:
        return True

    def put_back(self) -> None:
        pass

    def deliver(self, first: int, outcomes: list[Outcome]) -> None:
        pass


def _close_if_owned(workers: Workers) -> None:
    if workers.is_owned_here():
        workers.close()
