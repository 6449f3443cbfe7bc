"""A driver's side of a cluster: its head and nodes as stand-ins, and groups whose workers are there.

The workers of a group there are forked from a template that has imported `__main__`, under `fork` too.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from functools import partial
from multiprocessing import process, spawn
from typing import Any

import msgspec

from distpool.config import Settings
from distpool.ids import GroupId
from distpool.logic.group import GroupPlan
from distpool.protocol.cluster import OpenGroup, Welcome
from distpool.runtime.arguments import pickle_whole
from distpool.runtime.contact import find_head
from distpool.runtime.elsewhere import Elsewhere
from distpool.runtime.far_crew import FarCrew, Order
from distpool.runtime.handles import Wait
from distpool.runtime.hosting import RemoteHead
from distpool.runtime.interpreter import pickling_for_child
from distpool.runtime.joining import join
from distpool.runtime.labels import Labels
from distpool.runtime.launcher import LaunchPlan, worker_setup
from distpool.runtime.main_view import view_of_main
from distpool.runtime.node_links import NodeLinks
from distpool.serialization.buffers import parts_of
from distpool.transport.keys import KeyFolder, Part

FAR_METHODS = {"fork": "forkserver", "forkserver": "forkserver", "spawn": "spawn"}


class FarSide:
    """Where the groups of a session are that uses a cluster."""

    def __init__(self, settings: Settings) -> None:
        """Raises DistpoolError when there is no such head, or it does not want this process, or the environment has a
        value that makes no sense."""
        folder = KeyFolder.of_user()
        identity = folder.identity(Part.DRIVER)
        name = f"process {os.getpid()}"
        labels = Labels()
        self.head: RemoteHead = join(find_head(None, folder), name, identity, settings)
        self.nodes = NodeLinks(identity, self.head, settings, labels)
        self.cpus = next(message.cpus for _, message in self.head.outbox.messages if isinstance(message, Welcome))
        self.elsewhere = Elsewhere(head=self.head, node=self.nodes)

    def plans(self, plan: GroupPlan, launch: LaunchPlan) -> tuple[GroupPlan, LaunchPlan]:
        """For workers on nodes."""
        replace = msgspec.structs.replace
        return replace(plan, is_far=True), replace(launch, start_method=FAR_METHODS[launch.start_method])

    def open(self, group: GroupId, plan: LaunchPlan, wait: Wait, order: Order) -> FarCrew:
        """Have templates for a group started wherever it gets leases. Raises what pickling the initializer raises."""
        setup = msgspec.structs.replace(
            worker_setup(plan, None, ()), pickled=_pickled(plan), main=_preparation(), stores_results=False
        )
        crew = FarCrew(group, plan.names, daemon=plan.daemon, wait=wait, order=order)
        opening = OpenGroup(group, plan.size, plan.start_method, plan.names, plan.daemon, pickle.dumps(setup))
        self.nodes.open(opening, crew)
        return crew

    def close(self) -> None:
        """Leave the cluster."""
        self.nodes.close()
        self.head.leave()


def _pickled(plan: LaunchPlan) -> bytes | None:
    if plan.initializer is None:
        return None
    main = view_of_main(plan.start_method)

    def with_values(replace: Callable[[Any], list[Any]]) -> Any:
        return plan.initializer, tuple(replace(plan.initargs))

    with pickling_for_child():
        return pickle_whole((plan.initializer, plan.initargs), with_values, partial(parts_of, main=main))


def _preparation() -> dict[str, Any]:
    """By what `multiprocessing.spawn` makes a process like this one: its path, and where its `__main__` is."""
    data: dict[str, Any] = spawn.get_preparation_data(process.current_process().name)
    kept = ("sys_path", "sys_argv", "dir", "orig_dir", "init_main_from_name", "init_main_from_path")
    return {name: data[name] for name in kept if name in data}
