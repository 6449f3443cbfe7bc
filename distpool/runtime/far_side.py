"""A driver's side of a cluster: its head and nodes as stand-ins, and groups whose workers are there.

The workers of a group there are forked from a template that has imported `__main__` from the shipped script, under
`fork` too.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from distpool.config import Settings
from distpool.ids import GroupId
from distpool.logic.group import GroupPlan
from distpool.protocol.cluster import OpenGroup, Welcome
from distpool.runtime.arguments import pickle_whole
from distpool.runtime.elsewhere import Elsewhere
from distpool.runtime.far_crew import FarCrew, Order
from distpool.runtime.handles import Wait
from distpool.runtime.hosting import RemoteHead
from distpool.runtime.interpreter import pickling_for_child
from distpool.runtime.joining import join
from distpool.runtime.launcher import LaunchPlan, worker_setup
from distpool.runtime.main_view import MainView
from distpool.runtime.node_links import NodeLinks
from distpool.runtime.program_code import ProgramCode
from distpool.serialization.buffers import parts_of
from distpool.transport.keys import KeyFolder, Part

FAR_METHODS = {"fork": "forkserver", "forkserver": "forkserver", "spawn": "spawn"}


class FarSide:
    """Where the groups of a session are that uses a cluster."""

    def __init__(self, address: str, settings: Settings) -> None:
        """Raises DistpoolError when there is no such head, or it does not want this process."""
        self._settings = settings
        self._code: ProgramCode | None = None
        folder = KeyFolder.of_user()
        identity = folder.identity(Part.DRIVER)
        name = f"process {os.getpid()}"
        self.head: RemoteHead = join(address, name, identity, settings)
        self.nodes = NodeLinks(identity, self.head.greeting, settings)
        self.cpus = next(message.cpus for _, message in self.head.outbox.messages if isinstance(message, Welcome))
        self.elsewhere = Elsewhere(head=self.head, node=self.nodes)

    def plans(self, plan: GroupPlan, launch: LaunchPlan) -> tuple[GroupPlan, LaunchPlan]:
        """For workers on nodes."""
        replace = msgspec.structs.replace
        return replace(plan, is_far=True), replace(launch, start_method=FAR_METHODS[launch.start_method])

    def open(self, group: GroupId, plan: LaunchPlan, wait: Wait, order: Order) -> FarCrew:
        """Have templates for a group started wherever it gets leases. Raises what pickling the initializer raises, and
        DistpoolError when the program's code cannot be shipped."""
        code = self._shipped_code()
        setup = msgspec.structs.replace(
            worker_setup(plan, None, ()),
            pickled=_pickled(plan, code.view_of_main()),
            main=code.main(),
            paths=code.paths(),
            stores_results=False,
        )
        crew = FarCrew(group, plan.names, daemon=plan.daemon, wait=wait, order=order)
        pickled = pickle.dumps(setup)
        self.nodes.open(
            OpenGroup(group, plan.size, plan.start_method, plan.names, plan.daemon, pickled, code.surroundings), crew
        )
        return crew

    def view_of_main(self) -> MainView:
        """What the workers of a group have of this process's `__main__`."""
        return self._shipped_code().view_of_main()

    def _shipped_code(self) -> ProgramCode:
        """Packed once, with the first group."""
        if self._code is None:
            self._code = ProgramCode(self._settings)
            self.nodes.package = self._code.package
        return self._code

    def close(self) -> None:
        """Leave the cluster."""
        self.nodes.close()
        self.head.leave()
        if self._code is not None:
            self._code.close()


def _pickled(plan: LaunchPlan, main: MainView) -> bytes | None:
    if plan.initializer is None:
        return None

    def with_values(replace: Callable[[Any], list[Any]]) -> Any:
        return plan.initializer, tuple(replace(plan.initargs))

    with pickling_for_child():
        return pickle_whole((plan.initializer, plan.initargs), with_values, partial(parts_of, main=main))
