"""`get_runtime_context`: where a call runs, for which program and actor, and with what.

In a worker its program is asked: once for what a worker is, which does not change while it lives.
"""

from __future__ import annotations

import os
import pickle
from importlib import import_module
from typing import Any

from distpool.objects.refs import FROM_ABOVE
from distpool.protocol.resources import UNIT, Shape
from distpool.protocol.upcalls import AskCall, AskStanding, WorkerStanding
from distpool.runtime.own_way_up import results_written_to, store_above, way_up
from distpool.runtime.worker_devices import get_gpu_ids
from distpool.store.create import own_memory

_LOCAL = "local"
"""The node of a worker on the program's own machine, as `distpool.nodes` has it."""


class RuntimeContext:
    """Of this process. In the program itself all that only workers have is None or empty."""

    def get_job_id(self) -> str:
        """Of the program that this process works for, or is: no two programs have the same."""
        return f"{store_above() if FROM_ABOVE else own_memory()[0]:x}"

    def get_node_id(self) -> str | None:
        """The name of the node that this worker is on, as `distpool.nodes()` has it; None in a program."""
        return (_standing().node or _LOCAL) if FROM_ABOVE else None

    def get_worker_id(self) -> str | None:
        """Of this worker: no other of its cluster, or of its program, has it or had it. None in a program."""
        return f"{_standing().lease:x}" if FROM_ABOVE else None

    def get_task_id(self) -> str | None:
        """Of the task, or the call of a method, that runs here: its ref's `id` in hexadecimal digits, of several refs
        the first one's. None in calls of pools, in actors whose calls run beside each other, and in a program."""
        return f"{number:x}" if (number := _call()[0]) else None

    def get_task_name(self) -> str | None:
        """Of that task: its function's, or what it was called by the option `name`."""
        return _call()[1] or None

    def get_actor_id(self) -> str | None:
        """Of the actor that this worker is: no other of its program has it or had it. None where it is none."""
        return f"{_standing().actor:x}" if self._is_actor() else None

    def get_actor_name(self) -> str | None:
        """What `distpool.get_actor` finds it by, or empty; None where this worker is no actor."""
        return _standing().name if self._is_actor() else None

    @property
    def namespace(self) -> str | None:
        """Of that name."""
        return _standing().namespace if self._is_actor() else None

    @property
    def was_current_actor_reconstructed(self) -> bool:
        """The actor that this worker is had another worker before, which has died."""
        return self._is_actor() and _standing().restarts > 0

    @property
    def current_actor(self) -> Any:
        """A handle of the actor that this worker is. Raises RuntimeError where it is none."""
        if not self._is_actor():
            raise RuntimeError("no actor runs here: current_actor is for an actor's own methods")
        actors = import_module("distpool.actors")
        return actors.ActorHandle(import_module("distpool.actors.above").myself())

    def get_assigned_resources(self) -> dict[str, float]:
        """What this worker takes of its node, as {"CPU": 1.0, "GPU": 0.5, "memory": bytes}, and others by their names.
        Empty where that is nothing: on the program's own machine a pool's worker takes no CPU."""
        return _amounts(_standing().shape) if FROM_ABOVE else {}

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        """{"GPU": ids}, as `distpool.get_gpu_ids` gives them."""
        return {"GPU": get_gpu_ids()}

    def get_placement_group_id(self) -> str | None:
        """Of the placement group that this worker is in; None in none."""
        place = _standing().shape.place if FROM_ABOVE else None
        return None if place is None else f"{place[0]:x}"

    def get(self) -> dict[str, Any]:
        """All of that."""
        return {
            "job_id": self.get_job_id(),
            "node_id": self.get_node_id(),
            "worker_id": self.get_worker_id(),
            "task_id": self.get_task_id(),
            "task_name": self.get_task_name(),
            "actor_id": self.get_actor_id(),
            "actor_name": self.get_actor_name(),
            "namespace": self.namespace,
            "was_current_actor_reconstructed": self.was_current_actor_reconstructed,
            "assigned_resources": self.get_assigned_resources(),
            "accelerator_ids": self.get_accelerator_ids(),
            "placement_group_id": self.get_placement_group_id(),
        }

    def _is_actor(self) -> bool:
        return bool(FROM_ABOVE) and import_module("distpool.runtime.instance").is_actor()

    def __repr__(self) -> str:
        return f"<RuntimeContext of process {os.getpid()}>"


def get_runtime_context() -> RuntimeContext:
    """Where the call that asks runs, for which program and actor, and with what."""
    return RuntimeContext()


def get_current_placement_group() -> Any:
    """The `PlacementGroup` that this worker is in; None in none, and in a program."""
    if not FROM_ABOVE or not _standing().group:
        return None
    return pickle.loads(_standing().group)


_known: list[WorkerStanding] = []


def _standing() -> WorkerStanding:
    """Of this worker. Raises ForeignProcess in a process that was forked from one."""
    if not _known:
        _known.append(way_up().ask_value(AskStanding))
    return _known[0]


def _call() -> tuple[int, str]:
    """That runs here, as its program knows it: (0, "") for none."""
    if not FROM_ABOVE:
        return 0, ""
    lane = way_up()
    number, name = lane.ask_value(lambda number: AskCall(number, results_written_to(in_call=True)))
    return number, name


def _amounts(shape: Shape) -> dict[str, float]:
    named = {"CPU": shape.cpus / UNIT, "GPU": shape.gpus / UNIT, "memory": float(shape.memory_bytes)}
    named.update((name, amount / UNIT) for name, amount in shape.custom)
    return {name: amount for name, amount in named.items() if amount}


os.register_at_fork(after_in_child=_known.clear)
