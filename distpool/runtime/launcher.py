"""The launcher: starts templates, has them start workers, and reports what becomes of both.

Owned by whoever holds the loop; only `open` is called from a user's thread, which then holds the loop itself.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from multiprocessing import process, util
from typing import TYPE_CHECKING, Any

import msgspec

from distpool.base_errors import InvalidSetting
from distpool.config import Settings
from distpool.ids import GroupId, LeaseId
from distpool.interrupts import held_back
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
    WorkerExited,
    WorkerForked,
    WorkerReaped,
)
from distpool.runtime.arguments import pickle_initializer
from distpool.runtime.cuda import CUDA_HAS_BEGUN, cuda_has_begun
from distpool.runtime.descendants import wait_for_ends
from distpool.runtime.handles import Wait, WorkerHandle
from distpool.runtime.interpreter import Interpreter, end_child, pickling_for_child, take_interpreter
from distpool.runtime.main_view import view_of_main
from distpool.runtime.native_threads import share_of_processors
from distpool.runtime.output import can_be_forwarded
from distpool.runtime.standard_descriptors import left_alone
from distpool.runtime.template import TemplatePlan, run_template
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
from distpool.transport.ring import Ring, ring_size

if TYPE_CHECKING:
    from distpool.runtime.gpus.equipment import Equipment  # what most programs do without

_UNKNOWN_EXIT = -signal.SIGKILL
_END_LIMIT_S = 2.0
"""For a process that was killed: it may have much memory to give back."""


class LaunchPlan(msgspec.Struct, frozen=True):
    """How a group's workers are started. `names`: `ForkPoolWorker` gives ForkPoolWorker-1 and so on."""

    start_method: str
    size: int
    names: str
    daemon: bool
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    maybe_encoding_error: bool = False
    breaks: bool = False
    extended_results: bool = False


class Crew:
    """The template and the workers of one group."""

    def __init__(self, plan: LaunchPlan, pid: int, control: socket.socket, rings: int, claim: Claim | None) -> None:
        self.plan = plan
        # What the initializer's arguments need of the store, for as long as a worker may be started.
        self.claim = claim
        self.pid = pid
        self.control = control
        self.rings = rings
        self.free_slots = list(range(plan.size - 1, -1, -1))
        # There are more where workers take the places of those that wait.
        self._next_slot = plan.size
        self.slots: dict[LeaseId, int] = {}
        self.handles: dict[LeaseId, WorkerHandle] = {}
        self.is_stopping = False
        self.forwards_output = can_be_forwarded()
        # Of a fork: its parent's CUDA had begun, so that the choice of devices comes too late for its workers.
        self.has_cuda = plan.start_method == "fork" and cuda_has_begun()

    def take_slot(self, lease: LeaseId, slot_bytes: int) -> int:
        """A place for the ring of a new worker."""
        if self.free_slots:
            slot = self.free_slots.pop()
        else:
            slot = self._next_slot
            self._next_slot += 1
            os.ftruncate(self.rings, self._next_slot * slot_bytes)
        self.slots[lease] = slot
        return slot


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

    def open(self, group: GroupId, plan: LaunchPlan) -> Crew:
        """Start the template of a group. Under `fork` it is forked from this very thread.

        Raises what pickling the initializer raises, and RuntimeError while `__main__` is being imported by a child.
        """
        pid, control, rings, claim = self._fork(plan) if plan.start_method == "fork" else self._spawn(plan)
        crew = self.crews[group] = Crew(plan, pid, control, rings, claim)
        return crew

    def _open_for_other(self, order: OpenGroup) -> list[Message]:
        """Start the template of a caller's that is elsewhere."""
        plan = LaunchPlan(order.start_method, order.size, order.names, order.daemon, None, ())
        try:
            interpreter = Interpreter([], order.python or None, dict(order.surroundings.environment))
        except OSError as error:
            _log_failure(order, error)
            return [GroupGone(order.group)]
        try:
            os.ftruncate(interpreter.rings, self._rings_bytes(plan))
            template = self._template_plan(plan, msgspec.structs.replace(worker_setup(plan, None, ()), node=order.node))
            template.pickled_setup = order.setup
            template.folder = order.folder
            interpreter.become_template(pickle.dumps(template))
        except OSError as error:  # there is no room for so many workers, or it has ended at once
            interpreter.discard()
            _log_failure(order, error)
            return [GroupGone(order.group)]
        except BaseException:
            interpreter.discard()
            raise
        self.crews[order.group] = Crew(plan, interpreter.pid, interpreter.control, interpreter.rings, None)
        return []

    def close_after_fork(self) -> None:
        """In a forked child: let go of every descriptor, so that a child keeps nothing alive that is not its own."""
        for crew in self.crews.values():
            crew.control.close()
            os.close(crew.rings)
        self.crews.clear()

    # Messages -------------------------------------------------------------------------------------------------------

    def handle(self, message: Any) -> list[Message]:
        """Obey the node or the client; what is to be told to the node."""
        match message:
            case StartWorker(lease, group):
                return self._start_worker(lease, group, message.devices)
            case StopGroup(group, kill, busy):
                crew = self.crews.get(group)
                if crew is not None and not crew.is_stopping:  # otherwise it has ended already
                    crew.is_stopping = True
                    self._order(crew, StopTemplate(self._settings.terminate_grace_s if kill else 0.0, busy))
                return []
            case OpenGroup():
                return self._open_for_other(message)
            case EndWorker(_, group):
                if group in self.crews:
                    self._order(self.crews[group], message)
                return []
            case InterruptWorker(lease, group, ended):
                crew = self.crews.get(group)
                if crew is not None and lease in crew.handles and self._lanes[lease].mark_interrupt(ended):
                    self._order(crew, message)
                return []
            case _:
                raise ValueError(f"the launcher cannot handle {type(message).__name__}")

    def receive(self, group: GroupId) -> list[Message]:
        """Read what the template says: messages to the node. The lane of one that died is to be read before."""
        crew = self.crews[group]
        try:
            frame, _ = receive_with_descriptors(crew.control, 1, DONT_WAIT)
        except BlockingIOError:
            return []
        except ConnectionResetError:
            frame = b""
        if not frame:
            return self._template_ended(group, crew)
        match decode_template(frame):
            case WorkerForked(lease, pid):
                crew.handles[lease].known_pid = pid
                return []
            case WorkerReaped(lease, death):
                return [self._worker_ended(group, crew, lease, death)]
            case other:
                raise ValueError(f"a template cannot say {other!r}")

    def _start_worker(self, lease: LeaseId, group: GroupId, positions: Sequence[int]) -> list[Message]:
        crew = self.crews.get(group)
        # Its template has ended, or will, while the lease was on its way; or a caller elsewhere uses more than it said.
        if crew is None or crew.is_stopping or not crew.free_slots:
            return [WorkerExited(lease, group, Death(0, _UNKNOWN_EXIT))]
        try:
            devices, locks = self._hand_out(positions) if positions else (NO_DEVICES, [])
        except (InvalidSetting, LookupError) as error:
            return [WorkerExited(lease, group, Death(0, _UNKNOWN_EXIT, note=str(error)))]
        if positions and crew.has_cuda:
            crew.has_cuda = False  # once is enough
            self.note(CUDA_HAS_BEGUN)
        number = next(process._process_counter)  # type: ignore[attr-defined]
        handle = WorkerHandle(lease, f"{crew.plan.names}-{number}", daemon=crew.plan.daemon, wait=self._wait)
        crew.handles[lease] = handle
        slot_bytes = ring_size(self._settings.ring_bytes)
        slot = crew.take_slot(lease, slot_bytes)
        ring = Ring(crew.rings, slot * slot_bytes, self._settings.ring_bytes)
        ring.clear()
        ours, theirs = socket_pair()
        tokens = make_tokens()
        self._lanes[lease] = Lane(ours, tokens, ring, partial(self.adopt, lease))
        store_lane = self._open_store_lane(lease)
        writers = self._open_output(lease) if crew.forwards_output else []
        try:
            order = encode(ForkWorker(lease, slot, number, devices))
            descriptors = [theirs.fileno(), tokens, store_lane.fileno(), *locks, *writers]
            send_with_descriptors(crew.control, order, descriptors)
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

    def _worker_ended(self, group: GroupId, crew: Crew, lease: LeaseId, death: Death) -> WorkerExited:
        crew.handles.pop(lease).ended(death.exitcode)
        crew.free_slots.append(crew.slots.pop(lease))
        return WorkerExited(lease, group, death)

    def _template_ended(self, group: GroupId, crew: Crew) -> list[Message]:
        # Each is killed when its parent ends; what it had is free once it has ended itself.
        left = wait_for_ends([handle.known_pid for handle in crew.handles.values() if handle.known_pid], _END_LIMIT_S)
        if left:
            self.note(f"worker processes {left} were killed and have not ended: they are stuck in the kernel")
        messages: list[Message] = [
            self._worker_ended(group, crew, lease, Death(handle.known_pid or 0, _UNKNOWN_EXIT))
            for lease, handle in list(crew.handles.items())
        ]
        del self.crews[group]
        # Before the close: a child that is being forked in this moment still has a copy, and for as long as it has,
        # epoll goes on to report the socket under a number that may be another's by then.
        self._forget(crew.control.fileno())
        crew.control.close()
        os.close(crew.rings)
        try:
            os.waitpid(crew.pid, 0)
        except ChildProcessError:
            pass  # Somebody else's wait() has reaped it.
        return [*messages, GroupGone(group)]

    def _order(self, crew: Crew, message: Message) -> None:
        try:
            send_frame(crew.control, encode(message))
        except (BrokenPipeError, ConnectionResetError):
            pass  # It has ended already, and its end of file is on its way.

    # Templates ------------------------------------------------------------------------------------------------------

    def _fork(self, plan: LaunchPlan) -> tuple[int, socket.socket, int, None]:
        template = self._template_plan(plan, worker_setup(plan, plan.initializer, plan.initargs))
        with ExitStack() as undo, left_alone():
            rings = os.memfd_create("distpool-rings", os.MFD_CLOEXEC)
            undo.callback(os.close, rings)
            os.ftruncate(rings, self._rings_bytes(plan))
            store = os.dup(own_memory()[1])  # the child's: its hook of `os.fork` closes the other
            undo.callback(os.close, store)
            ours, theirs = socket_pair()
            undo.callback(ours.close)
            util._flush_std_streams()  # type: ignore[attr-defined]
            with theirs, held_back() as lets_interrupts_in:
                pid = os.fork()
                if pid == 0:
                    # What else the runtime has open was closed by its own hook of `os.fork` (see `session`).
                    ours.close()
                    run_template(template, theirs, rings, store, lets_interrupts_in=lets_interrupts_in)
                undo.callback(end_child, pid)
            undo.pop_all()
            os.close(store)
        return pid, ours, rings, None

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


def worker_setup(plan: LaunchPlan, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> WorkerSetup:
    """What the workers of a group of this process need to know, as it is now."""
    return WorkerSetup(
        initializer,
        initargs,
        maybe_encoding_error=plan.maybe_encoding_error,
        breaks=plan.breaks,
        extended_results=plan.extended_results,
        program=own_memory()[0],
        native_threads=share_of_processors(plan.size),
        log_levels=_log_levels(),
        interruptible=signal.getsignal(signal.SIGINT) is not signal.SIG_IGN,
    )


def _adopt(lease: LeaseId, told: bytes) -> Any:
    from distpool.objects.results import adopt  # what few programs need

    return adopt(lease, told)


def _keep_to_itself(text: str) -> None:
    """Nobody listens."""


def _log_failure(order: OpenGroup, error: OSError) -> None:
    import logging  # the process of a node has it

    logging.getLogger("distpool.node").error("no template for group %s could be started: %s", order.group, error)


def _log_levels() -> dict[str, int]:
    """The levels that this process has set."""
    if "logging" not in sys.modules:
        return {}
    from distpool.runtime.logs import snapshot_of_levels  # imports logging, which a program need not have

    return snapshot_of_levels()
