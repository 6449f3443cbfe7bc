"""A driver's side of a cluster: its head and nodes as stand-ins, and groups whose workers are there.

The workers of a group there are forked from a template that has imported `__main__` from the shipped script, under
`fork` too.
"""

from __future__ import annotations

import os
import pickle
import socket
import time
from collections.abc import Callable

import msgspec

from distpool.config import Settings
from distpool.ids import CLIENT, GroupId, LeaseId
from distpool.logic.calls import Claim
from distpool.logic.group import Group
from distpool.logic.group_plan import GroupPlan
from distpool.objects.stores import connect
from distpool.protocol.cluster import AskStatus, OpenGroup, Welcome
from distpool.protocol.resources import UNIT
from distpool.protocol.standing import StatusTold
from distpool.runtime import initialization
from distpool.runtime.arguments import pickle_initializer
from distpool.runtime.elsewhere import Elsewhere
from distpool.runtime.far_crew import FarCrew, Order
from distpool.runtime.handles import Wait
from distpool.runtime.hosting import RemoteHead
from distpool.runtime.joining import join
from distpool.runtime.labels import Labels
from distpool.runtime.launch_plan import LaunchPlan, worker_setup
from distpool.runtime.main_view import MainView
from distpool.runtime.node_links import NodeLinks
from distpool.runtime.program_code import ProgramCode
from distpool.runtime.programs import Programs
from distpool.settings import current
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
        name = f"{initialization.chosen().kind} {os.getpid()} of {socket.gethostname()}"
        self.head: RemoteHead = join(address, name, identity, settings)
        self.nodes = NodeLinks(identity, self.head, settings, Labels(is_on=current().labels))
        self.cpus = next(message.cpus for _, message in self.head.outbox.messages if isinstance(message, Welcome))
        """That the nodes have in all, as the head has told last."""
        self.programs = Programs(identity, self.head, settings)
        self.nodes.programs = self.programs.hear
        self.elsewhere = Elsewhere(head=self.head, node=self.nodes, programs=self.programs)

    def plans(self, plan: GroupPlan, launch: LaunchPlan) -> tuple[GroupPlan, LaunchPlan]:
        """For workers on nodes."""
        replace = msgspec.structs.replace
        shape = replace(plan.shape, cpus=UNIT) if plan.cpu_when_far else plan.shape
        return replace(plan, is_far=True, shape=shape, cpu_when_far=False), replace(
            launch, start_method=FAR_METHODS[launch.start_method]
        )

    def look_at_cpus(self, post: Callable[..., None], wait: Wait) -> None:
        """Ask the head how many there are now. One that is silent, or does not answer, has told of them before."""
        status = self.status(post, wait)
        if status is not None:
            self.cpus = sum(node.cpus for node in status.nodes if node.state != "draining")

    def status(self, post: Callable[..., None], wait: Wait) -> StatusTold | None:
        """Ask the head how things stand. None: it is silent, or does not answer."""
        if time.monotonic() - self.head.heard_at > self._settings.silence_limit_s:
            return None
        self.nodes.status = None
        post(lambda: self.head.handle(CLIENT, AskStatus(), time.monotonic()))
        wait(lambda: self.nodes.status is not None, self._settings.connect_limit_s)
        return self.nodes.status

    def open(self, group: GroupId, plan: LaunchPlan, wait: Wait, order: Order) -> FarCrew:
        """Have templates for a group started wherever it gets leases. Raises what pickling the initializer raises, and
        DistpoolError when the program's code cannot be shipped."""
        code = self._shipped_code()
        pickled, claim = _pickled(plan, code.view_of_main())
        setup = msgspec.structs.replace(
            worker_setup(plan, None, ()), pickled=pickled, main=code.main(), paths=code.paths()
        )
        crew = FarCrew(group, plan.names, claim, daemon=plan.daemon, wait=wait, order=order)
        # True is a number of workers too, and no number to a decoder.
        size = int(plan.size)
        self.nodes.open(
            OpenGroup(
                group,
                size,
                plan.start_method,
                plan.names,
                plan.daemon,
                pickle.dumps(setup),
                code.surroundings,
                shares=plan.shares,
                threads=plan.threads,
            ),
            crew,
        )
        return crew

    def serve(
        self,
        post: Callable[..., None],
        wake: Callable[[], None],
        wait: Wait,
        at_rest: Callable[..., None],
        group_of: Callable[[LeaseId], Group | None],
    ) -> None:
        """By the session that uses it (see `FarObjects.serve`). `group_of`: that of a lease."""
        self.nodes.objects.serve(post, wake, wait, at_rest)
        self.nodes.results.group_of = group_of
        connect(self.nodes.objects)

    def view_of_main(self) -> MainView:
        """What the workers of a group have of this process's `__main__`."""
        return self._shipped_code().view_of_main()

    def _shipped_code(self) -> ProgramCode:
        """Packed with the first group that is open."""
        if self._code is None:
            self._code = ProgramCode(self._settings)
            self.nodes.package = self._code.package
        return self._code

    def forget_code(self) -> None:
        """No group is open: what has changed meanwhile, the next one has."""
        code, self._code = self._code, None
        if code is not None:
            code.close()

    def close(self) -> None:
        """Leave the cluster."""
        connect(None)
        self.programs.close()
        self.nodes.close()
        self.head.leave()
        self.forget_code()


def _pickled(plan: LaunchPlan, main: MainView) -> tuple[bytes | None, Claim | None]:
    """The initializer, and what its arguments need of the store."""
    if plan.initializer is None:
        return None, None
    try:
        # Not as for a child: what is shared by inheritance refuses, as it would be of no use on another machine.
        return pickle_initializer(plan.initializer, plan.initargs, main)
    except RuntimeError as error:
        if "through inheritance" in str(error):
            raise RuntimeError(
                f"{error}, and a cluster's workers inherit nothing: give the initializer a manager's, such as "
                "Manager().Queue(), or unset DISTPOOL_ADDRESS for workers on this machine"
            ) from None
        raise
