"""The launcher: starts templates, has them start workers, and reports what becomes of both.

Owned by whoever holds the loop; only `open` is called from a user's thread, which then holds the loop itself.
"""

from __future__ import annotations

import errno
import os
import pickle
import signal
import socket
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from multiprocessing import process
from typing import TYPE_CHECKING, Any

import msgspec

from distpool.base_errors import InvalidSetting
from distpool.config import Settings
from distpool.ids import GroupId, LeaseId
from distpool.logic.calls import Claim
from distpool.protocol.cluster import OpenGroup
from distpool.protocol.codec import decode_template, encode
from distpool.protocol.devices import NO_DEVICES, WorkerDevices
from distpool.protocol.messages import (
    Death,
    EndWorker,
    ForkWorker,
    GroupGone,
    InterruptWorker,
    Message,
    StartWorker,
    StopGroup,
    StopTemplate,
    StopWorkers,
    WorkerExited,
    WorkerForked,
    WorkerReaped,
)
from distpool.runtime.arguments import pickle_initializer
from distpool.runtime.crews import Crew, TemplateHandle
from distpool.runtime.cuda import CUDA_HAS_BEGUN, cuda_has_begun
from distpool.runtime.descendants import wait_for_ends
from distpool.runtime.descriptor_limit import lack_of_room
from distpool.runtime.early_start import take_fork, take_interpreter
from distpool.runtime.forks import Fork
from distpool.runtime.handles import Wait, WorkerHandle
from distpool.runtime.interpreter import Interpreter, pickling_for_child
from distpool.runtime.launch_plan import LaunchPlan, worker_setup
from distpool.runtime.main_view import view_of_main
from distpool.runtime.template_plan import TemplatePlan
from distpool.runtime.worker_setup import WorkerSetup
from distpool.store.create import own_memory
from distpool.transport.frames import (
    DONT_WAIT,
    receive_with_descriptors,
    send_frame,
    send_with_descriptors,
)
from distpool.transport.lanes import Lane, make_tokens
from distpool.transport.pairs import socket_pair
from distpool.transport.ring import ring_size

if TYPE_CHECKING:
    from distpool.runtime.gpus.equipment import Equipment  # what most programs do without

_UNKNOWN_EXIT = -signal.SIGKILL
_END_LIMIT_S = 2.0
"""For a process that was killed: it may have much memory to give back."""


class Launcher:
    """The local hand that owns processes."""

    def __init__(
        self,
        settings: Settings,
        lanes: dict[LeaseId, Lane],
        wait: Wait,
        forget: Callable[[int], None],
        open_output: Callable[[LeaseId], list[int]],
        open_store_lane: Callable[[LeaseId], socket.socket],
    ) -> None:
        self.crews: dict[GroupId, Crew] = {}
        self._shared: dict[str, TemplateHandle] = {}
        self._settings = settings
        self._lanes = lanes
        self._open_output = open_output
        self._open_store_lane = open_store_lane
        self.adopt: Callable[[LeaseId, bytes], Any] = _adopt
        """Takes what is told of a result in the store, and gives what stands for it."""
        self.equipment: Equipment | None = None
        """The devices that workers are given; None: nobody has needed one yet."""
        self.note: Callable[[str], None] = _keep_to_itself
        """Takes what users want to know of, in words."""
        self._wait = wait
        self._forget = forget

    def has_template_for(self, plan: LaunchPlan) -> bool:
        """`open` would start none."""
        return plan.shares in self._shared

    def open(self, group: GroupId, plan: LaunchPlan) -> Crew:
        """Start the template of a group, if it shares none that is there. Under `fork` it is forked from this very
        thread.

        Raises what pickling the initializer raises, RuntimeError while `__main__` is being imported by a child, and
        OSError where there is no room for the descriptors of its workers.
        """
        lack = lack_of_room(plan.size, len(self._lanes)) if plan.needs_all else ""
        if lack:
            raise OSError(errno.EMFILE, lack)
        template = self._shared.get(plan.shares)
        claim = None
        if template is None:
            pid, control, rings, claim = self._fork(plan) if plan.start_method == "fork" else self._spawn(plan)
            template = self._template(plan, pid, control, rings)
            template.main = view_of_main(plan.start_method)
        crew = self.crews[group] = Crew(group, plan, template, claim)
        return crew

    def _open_for_other(self, order: OpenGroup) -> list[Message]:
        """Start the template of a caller's that is elsewhere, if it shares none that is there."""
        plan = LaunchPlan(
            order.start_method,
            order.size,
            order.names,
            order.daemon,
            None,
            (),
            shares=order.shares,
            threads=order.threads,
        )
        template = self._shared.get(plan.shares)
        if template is None:
            try:
                interpreter = Interpreter([], order.python or None, dict(order.surroundings.environment))
            except OSError as error:
                _log_failure(order, error)
                return [GroupGone(order.group)]
            try:
                os.ftruncate(interpreter.rings, self._rings_bytes(plan))
                setup = msgspec.structs.replace(worker_setup(plan, None, ()), node=order.node)
                template_plan = self._template_plan(plan, setup)
                template_plan.pickled_setup = order.setup
                template_plan.folder = order.folder
                interpreter.become_template(pickle.dumps(template_plan))
            except OSError as error:  # there is no room for so many workers, or it has ended at once
                interpreter.discard()
                _log_failure(order, error)
                return [GroupGone(order.group)]
            except BaseException:
                interpreter.discard()
                raise
            template = self._template(plan, interpreter.pid, interpreter.control, interpreter.rings)
        self.crews[order.group] = Crew(order.group, plan, template, None)
        return []

    def _template(self, plan: LaunchPlan, pid: int, control: socket.socket, rings: int) -> TemplateHandle:
        template = TemplateHandle(pid, control, rings, plan.size, self._settings.ring_bytes)
        template.has_cuda = plan.start_method == "fork" and cuda_has_begun()
        if plan.shares:
            self._shared[plan.shares] = template
        return template

    def close_after_fork(self) -> None:
        """In a forked child: let go of every descriptor, so that a child keeps nothing alive that is not its own."""
        for template in {crew.template for crew in self.crews.values()}:
            template.close()
        self.crews.clear()
        self._shared.clear()

    # Messages -------------------------------------------------------------------------------------------------------

    def handle(self, message: Any) -> list[Message]:
        """Obey the node or the client; what is to be told to the node."""
        match message:
            case StartWorker(lease, group):
                return self._start_worker(lease, group, message.devices)
            case StopGroup(group):
                crew = self.crews.get(group)
                if crew is not None and not crew.is_stopping:  # otherwise it has ended already
                    return self._stop(crew, message)
                return []
            case OpenGroup():
                return self._open_for_other(message)
            case EndWorker(lease, group, grace_s):
                crew = self.crews.get(group)
                if crew is not None:
                    if grace_s and lease in crew.handles:
                        # Its handler would take the signal for that of an earlier call.
                        self._lanes[lease].ring.let_interrupts()
                    _order(crew.template, message)
                return []
            case InterruptWorker(lease, group, ended):
                crew = self.crews.get(group)
                if crew is not None and lease in crew.handles and self._lanes[lease].mark_interrupt(ended):
                    _order(crew.template, message)
                return []
            case _:
                raise ValueError(f"the launcher cannot handle {type(message).__name__}")

    def receive(self, template: TemplateHandle) -> list[Message]:
        """Read what it says: messages to the node. The lane of a worker that died is to be read before."""
        try:
            frame, _ = receive_with_descriptors(template.control, 1, DONT_WAIT)
        except BlockingIOError:
            return []
        except ConnectionResetError:
            frame = b""
        if not frame:
            return self._template_ended(template)
        match decode_template(frame):
            case WorkerForked(lease, pid):
                template.crew_of(lease).handles[lease].known_pid = pid
                return []
            case WorkerReaped(lease, death):
                crew = template.crew_of(lease)
                exited = crew.ended(lease, death)
                return [exited, *self._gone_without_template(crew)]
            case other:
                raise ValueError(f"a template cannot say {other!r}")

    def _stop(self, crew: Crew, order: StopGroup) -> list[Message]:
        """End the workers of a group, and with the last one that has it, the template."""
        crew.is_stopping = True
        template = crew.template
        grace_s = self._settings.terminate_grace_s if order.kill else 0.0
        if crew.shares_template():
            if crew.handles:
                _order(template, StopWorkers(grace_s, list(crew.handles), order.busy))
            return self._gone_without_template(crew)
        template.is_stopping = True
        if any(other.handles for other in template.crews.values() if other is not crew):
            grace_s = self._settings.terminate_grace_s  # they are being ended, and have a moment for that
        if crew.plan.shares:
            del self._shared[crew.plan.shares]  # whoever comes now needs another
        _order(template, StopTemplate(grace_s, order.busy))
        return []

    def _gone_without_template(self, crew: Crew) -> list[Message]:
        """The end of a group whose template goes on, if this is it."""
        if not crew.is_stopping or crew.handles or crew.template.is_stopping:
            return []
        del self.crews[crew.group], crew.template.crews[crew.group]
        return [GroupGone(crew.group)]

    def _start_worker(self, lease: LeaseId, group: GroupId, positions: Sequence[int]) -> list[Message]:
        crew = self.crews.get(group)
        # Its template has ended, or will, while the lease was on its way.
        if crew is None or crew.is_stopping:
            return [WorkerExited(lease, group, Death(0, _UNKNOWN_EXIT))]
        lack = lack_of_room(1, len(self._lanes))
        if lack:
            return [WorkerExited(lease, group, Death(0, _UNKNOWN_EXIT, note=lack))]
        try:
            devices, locks = self._hand_out(positions) if positions else (NO_DEVICES, [])
        except (InvalidSetting, LookupError) as error:
            return [WorkerExited(lease, group, Death(0, _UNKNOWN_EXIT, note=str(error)))]
        if positions and crew.template.has_cuda:
            crew.template.has_cuda = False  # once is enough
            self.note(CUDA_HAS_BEGUN)
        template = crew.template
        number = next(process._process_counter)  # type: ignore[attr-defined]
        handle = WorkerHandle(lease, f"{crew.plan.names}-{number}", daemon=crew.plan.daemon, wait=self._wait)
        place = crew.add(lease, handle)
        ours, theirs = socket_pair()
        tokens = make_tokens()
        self._lanes[lease] = Lane(ours, tokens, template.ring_at(place), partial(self.adopt, lease))
        store_lane = self._open_store_lane(lease)
        writers = self._open_output(lease) if crew.forwards_output else []
        try:
            order = encode(ForkWorker(lease, place, number, crew.plan.native_threads(), devices))
            descriptors = [theirs.fileno(), tokens, store_lane.fileno(), *locks, *writers]
            send_with_descriptors(template.control, order, descriptors)
        except (BrokenPipeError, ConnectionResetError):
            pass  # The template has ended: its end of file tells of all its workers.
        finally:
            theirs.close()
            store_lane.close()
            for writer in writers:
                os.close(writer)
        return []

    def _hand_out(self, positions: Sequence[int]) -> tuple[WorkerDevices, list[int]]:
        if self.equipment is None:
            self.equipment = import_module("distpool.runtime.gpus.equipment").Equipment()
        return self.equipment.hand_out(positions)

    def _template_ended(self, template: TemplateHandle) -> list[Message]:
        # Each is killed when its parent ends; what it had is free once it has ended itself.
        pids = [handle.known_pid for crew in template.crews.values() for handle in crew.handles.values()]
        left = wait_for_ends([pid for pid in pids if pid], _END_LIMIT_S)
        if left:
            self.note(f"worker processes {left} were killed and have not ended: they are stuck in the kernel")
        messages: list[Message] = [
            crew.ended(lease, Death(handle.known_pid or 0, _UNKNOWN_EXIT))
            for crew in template.crews.values()
            for lease, handle in list(crew.handles.items())
        ]
        for group, crew in template.crews.items():
            messages.append(GroupGone(group))
            del self.crews[group]
            if self._shared.get(crew.plan.shares) is template:
                del self._shared[crew.plan.shares]
        template.crews.clear()  # no cycle keeps what the initializer was given
        # Before the close: a child that is being forked in this moment still has a copy, and for as long as it has,
        # epoll goes on to report the socket under a number that may be another's by then.
        self._forget(template.control.fileno())
        template.close()
        try:
            os.waitpid(template.pid, 0)
        except ChildProcessError:
            pass  # Somebody else's wait() has reaped it.
        return messages

    # Templates ------------------------------------------------------------------------------------------------------

    def _fork(self, plan: LaunchPlan) -> tuple[int, socket.socket, int, None]:
        template = self._template_plan(plan, worker_setup(plan, plan.initializer, plan.initargs))
        early = take_fork()
        if early is None:
            # Not in the child: another thread may hold the lock of an import.
            import_module("distpool.runtime.template")
        fork = early or Fork(template)
        try:
            os.ftruncate(fork.rings, self._rings_bytes(plan))
            if early is not None:
                early.become_template(pickle.dumps(template))
        except BaseException:
            fork.discard()
            raise
        return fork.pid, fork.control, fork.rings, None

    def _spawn(self, plan: LaunchPlan) -> tuple[int, socket.socket, int, Claim | None]:
        with pickling_for_child() as descriptors:
            pickled = claim = None
            if plan.initializer is not None:
                main = view_of_main(plan.start_method)
                pickled, claim = pickle_initializer(plan.initializer, plan.initargs, main)
        interpreter = take_interpreter(descriptors)
        try:
            os.ftruncate(interpreter.rings, self._rings_bytes(plan))
            setup = msgspec.structs.replace(worker_setup(plan, None, ()), pickled=pickled, main=interpreter.main)
            interpreter.become_template(pickle.dumps(self._template_plan(plan, setup)))
        except BaseException:
            interpreter.discard()
            raise
        return interpreter.pid, interpreter.control, interpreter.rings, claim

    def _rings_bytes(self, plan: LaunchPlan) -> int:
        return plan.size * ring_size(self._settings.ring_bytes)

    def _template_plan(self, plan: LaunchPlan, setup: WorkerSetup) -> TemplatePlan:
        return TemplatePlan(
            plan.start_method,
            os.getpid(),
            plan.names,
            plan.daemon,
            setup,
            self._settings.ring_bytes,
            own_memory()[0],
        )


def _order(template: TemplateHandle, message: Message) -> None:
    try:
        send_frame(template.control, encode(message))
    except (BrokenPipeError, ConnectionResetError):
        pass  # It has ended already, and its end of file is on its way.


def _adopt(lease: LeaseId, told: bytes) -> Any:
    from distpool.objects.results import adopt  # what few programs need

    return adopt(lease, told)


def _keep_to_itself(text: str) -> None:
    """Nobody listens."""


def _log_failure(order: OpenGroup, error: OSError) -> None:
    import logging  # the process of a node has it

    logging.getLogger("distpool.node").error("no template for group %s could be started: %s", order.group, error)
