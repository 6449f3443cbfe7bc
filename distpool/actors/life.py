"""One actor of this program, for as long as anybody has a handle of it: its workers, and what calls need to know."""

from __future__ import annotations

import weakref
from itertools import count
from typing import Any

from distpool.actors.methods import ActorMethod, ClassPlan, traits_of
from distpool.actors.options import ActorOptions, MethodOptions
from distpool.actors.reference import Referable
from distpool.actors.turns import Turns
from distpool.context import cpu_count_for_pools, get_context
from distpool.ids import INLINE_FUNCTION, GroupId
from distpool.logic.actor_plan import ActorPlan, ActorState
from distpool.logic.calls import NO_OPTIONS, Outcome
from distpool.logic.group_plan import GroupPlan
from distpool.logic.promises import Promise
from distpool.objects.promises import promise_for
from distpool.placing import native_threads
from distpool.protocol.messages import CallMode, OutcomeKind
from distpool.runtime import initialization
from distpool.runtime.instance import MADE_OF, construct
from distpool.runtime.launch_plan import LaunchPlan
from distpool.runtime.session import open_workers
from distpool.runtime.start_methods import check_may_have_children, start_method_prefix
from distpool.runtime.workers import Workers
from distpool.tasks.arguments import with_stand_ins
from distpool.tasks.calls import Prepared, Task

_numbers = count(1)

LIVES: weakref.WeakValueDictionary[GroupId, Life] = weakref.WeakValueDictionary()
"""Those of this program, by the group that calls of them are handed in to."""


class Life(Referable):
    """When the last handle is gone, the actor ends after its queued calls; unless it is detached."""

    def __init__(self, class_plan: ClassPlan, options: ActorOptions) -> None:
        """Its worker starts with `begin`. Raises ValueError for a method in an unknown concurrency group."""
        self.number = next(_numbers)
        self.class_plan = class_plan
        self.options = options
        self.traits = traits_of(class_plan, options)
        self.turns = Turns()
        self._was_killed = False

    def begin(self, actor_class: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Start it, with these arguments for its constructor. Raises what pickling them raises."""
        self._open()
        needed: list[Promise] = []
        try:
            args, kwargs = with_stand_ins(args, kwargs, needed)
            arguments = self.workers.arguments
            function_id, pickled = arguments.pickle_call(
                construct, (actor_class, tuple(self.traits), *args), kwargs, MADE_OF
            )
        except BaseException:
            self.workers.terminate(text="its constructor's arguments cannot be pickled")
            raise
        self._construct(function_id, pickled, needed)

    def begin_pickled(self, call: Any, needed: list[Promise]) -> None:
        """The same for a worker, or another program, which has pickled the call of `construct`."""
        self._open()
        self._construct(INLINE_FUNCTION, call, needed)

    def _open(self) -> None:
        start_method = get_context().get_start_method()
        check_may_have_children(start_method)
        prefix = start_method_prefix(start_method)
        options = self.options
        plan = ActorPlan(
            self.class_plan.name,
            options.max_restarts,
            self.traits.limits,
            self.number,
            options.name or "",
            options.namespace or initialization.namespace(),
        )
        open_workers(
            GroupPlan(1, on_demand=True, shape=options.shape, actor=plan),
            LaunchPlan(
                start_method,
                cpu_count_for_pools(),
                f"{prefix}Actor",
                False,
                None,
                (),
                extended_results=True,
                shares=f"actors {start_method}",
                threads=native_threads(options.shape, default_cpus=0),
            ),
            self._own,
        )

    def _construct(self, function_id: Any, pickled: Any, needed: list[Promise]) -> None:
        # What becomes of it the actor's other calls tell.
        call = Prepared(function_id, pickled, NO_OPTIONS, f"{self.class_plan.name}.__init__")
        self.turns.add(_Construction(self.workers, (promise_for(call.name),)), call, needed, CallMode.CALL)

    def _own(self, workers: Workers) -> None:
        self.workers = workers
        LIVES[workers.group.id] = self
        weakref.finalize(self, _close_if_owned, workers).atexit = False

    def method(self, name: str, options: MethodOptions) -> ActorMethod:
        return ActorMethod(self, name, options)

    def kill(self, *, no_restart: bool) -> None:
        """See `kill`."""
        if no_restart:
            self._was_killed = True
            self.workers.terminate(text="it was killed by distpool.kill")
        elif self.workers.is_owned_here() and not self.workers.is_over():
            self.workers.post(self.workers.group.restart)  # type: ignore[attr-defined]

    @property
    def state(self) -> ActorState:
        """As it is now; by the time that somebody reads it, it may have changed. One that was killed is dead."""
        return ActorState.DEAD if self._was_killed else self.workers.group.stage  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        name = f" {self.options.name!r}" if self.options.name else ""
        return f"<actor {self.class_plan.name}{name}, number {self.number}, {self.state.name}>"


class _Construction(Task):
    """The constructor's call. Where its arguments fail, the actor ends with it."""

    def end(self, outcome: Outcome, cause: str = "") -> bool:
        if cause:
            kind = OutcomeKind(outcome[0]).name
            self.workers.terminate(text=f"its constructor needed the value of {cause}, which has none ({kind})")
        return super().end(outcome, cause)


def _close_if_owned(workers: Workers) -> None:
    if workers.is_owned_here():
        workers.close()
