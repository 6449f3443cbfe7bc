"""Fresh interpreters that become templates, under `forkserver` and `spawn`.

One needs a while to start. The plan is sent when it is made, and this module imports nothing of the runtime, so that a
first pool can start its interpreter before (see `early_start`).
"""

from __future__ import annotations

import gc
import marshal
import os
import pickle
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from multiprocessing import context, process, spawn, util
from typing import Any, BinaryIO, NoReturn

from distpool.interrupts import held_back
from distpool.runtime import initialization
from distpool.runtime.standard_descriptors import left_alone
from distpool.store.create import own_memory
from distpool.transport.pairs import socket_pair


class TemplateProcess(process.BaseProcess):
    """A template in a fresh interpreter, as `multiprocessing.spawn` starts it there."""

    def __init__(self, control: int, rings: int, store: int, plan: int, *, lets_interrupts_in: bool) -> None:
        super().__init__()
        self._lets_interrupts_in = lets_interrupts_in
        self._control_fd = control
        self._rings_fd = rings
        self._store_fd = store
        self._plan_fd = plan

    def _bootstrap(self, parent_sentinel: int | None = None) -> NoReturn:
        collects = gc.isenabled()
        gc.disable()  # there is nothing to collect, and to look takes a while
        from distpool.runtime.template import run_template  # the runtime, while the driver makes the plan

        if collects:
            gc.enable()
        with open(self._plan_fd, "rb") as stream:
            plan = stream.read()
        if not plan:
            os._exit(0)  # The driver has no use for it after all, or is gone.
        control = socket.socket(fileno=self._control_fd)
        with left_alone():
            _, (tracker,), _, _ = socket.recv_fds(control, 1, 1, socket.MSG_CMSG_CLOEXEC)  # it was sent before the plan
        _resource_tracker()._fd = tracker
        lets_in = self._lets_interrupts_in
        run_template(pickle.loads(plan), control, self._rings_fd, self._store_fd, lets_interrupts_in=lets_in)


class Interpreter:
    """The driver's side of one. `control` and `rings` are what its template will be told by and will hand on; `main`
    has the keys by which `multiprocessing.spawn` imports `__main__`."""

    def __init__(
        self, descriptors: list[int], python: str | None = None, environment: dict[str, str] | None = None
    ) -> None:
        """Start it; it inherits `descriptors`. `python`: the executable of another environment, whose `sys.path` it
        has. `environment`: variables beside this process's own; by default those that `distpool.init` was given.

        Raises RuntimeError while `__main__` is being imported by a child, as the standard library does.
        """
        prepared: dict[str, Any] = spawn.get_preparation_data(process.current_process().name)
        names = ("init_main_from_name", "init_main_from_path")
        self.main: dict[str, Any] = {name: prepared.pop(name) for name in names if name in prepared}
        chosen = initialization.chosen()
        if chosen.working_dir:
            prepared["dir"] = chosen.working_dir
            prepared["sys_path"].insert(0, chosen.working_dir)
        if python is not None:
            del prepared["sys_path"]
        executable: Any = spawn.get_executable() if python is None else os.fsencode(python)
        with ExitStack() as ours, ExitStack() as theirs, left_alone():
            self.rings = os.memfd_create("distpool-rings", os.MFD_CLOEXEC)
            ours.callback(os.close, self.rings)
            self.control, control = socket_pair()
            ours.callback(self.control.close)
            theirs.callback(control.close)
            plan, to_plan = os.pipe()
            theirs.callback(os.close, plan)
            self._plan = ours.enter_context(open(to_plan, "wb"))
            start, to_start = os.pipe()
            store = own_memory()[1]
            inherited = [start, plan, control.fileno(), self.rings, store, *descriptors]
            command = [executable, *spawn.get_command_line(pipe_handle=start)[1:]]
            more = chosen.environment if environment is None else environment
            if more:
                variables = _memory_with(marshal.dumps({**os.environ, **more}))
                theirs.callback(os.close, variables)
                inherited.append(variables)
                command = [executable, "-ISc", _WITH_VARIABLES, str(variables), *command]
            # With what is written, as an interpreter that finds nothing to read would complain.
            with held_back() as lets_in, open(to_start, "wb") as stream, pickling_for_child():
                with open(start, "rb"):
                    template = TemplateProcess(control.fileno(), self.rings, store, plan, lets_interrupts_in=lets_in)
                    pickled = pickle.dumps(prepared) + pickle.dumps(template)
                    self.pid: int = util.spawnv_passfds(executable, command, inherited)
                    ours.callback(end_child, self.pid)
                _write(stream, pickled)
            self._undo = ours.pop_all()

    def become_template(self, plan: bytes) -> None:
        """Send the pickled plan. From now on it ends when it is told to or nobody has the other end of `control`.

        The standard library's resource tracker, which workers share with this process, is another interpreter: it is
        started no sooner, so that it takes no CPU from the import of the runtime here and there.
        """
        with left_alone():
            tracker = _resource_tracker().getfd()
        with self._plan as stream:
            with suppress(BrokenPipeError, ConnectionResetError):
                socket.send_fds(self.control, [b"\0"], [tracker])
            _write(stream, plan)

    def discard(self) -> None:
        """End it: nobody has a plan for it."""
        self._undo.close()


# The variables are there before the interpreter starts, as some count only then, and are in nobody's command line.
_WITH_VARIABLES = """
import marshal, os, sys
with open(int(sys.argv[1]), "rb") as file:
    variables = marshal.load(file)
os.execve(sys.argv[2], sys.argv[2:], variables)
"""


def _memory_with(data: bytes) -> int:
    """A descriptor to read it from."""
    descriptor = os.memfd_create("distpool-variables", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _resource_tracker() -> Any:
    """This process's handle of it."""
    return import_module("multiprocessing.resource_tracker")._resource_tracker


def end_child(pid: int) -> None:
    """Kill a process of ours that is not needed after all, and reap it."""
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@contextmanager
def pickling_for_child() -> Iterator[list[int]]:
    """Within, what is shared by inheritance can be pickled; the result gets the descriptors to be inherited for it."""
    popen = _Popen()
    context.set_spawning_popen(popen)  # type: ignore[arg-type]
    try:
        yield popen.descriptors
    finally:
        context.set_spawning_popen(None)


class _Popen:
    """What such objects ask for while they are pickled."""

    def __init__(self) -> None:
        self.descriptors: list[int] = []
        self.DupFd = import_module("multiprocessing.popen_spawn_posix")._DupFd

    def duplicate_for_child(self, descriptor: int) -> int:
        self.descriptors.append(descriptor)
        return descriptor


def _write(stream: BinaryIO, data: bytes) -> None:
    """A child that ended before it read all is told of by its exit code."""
    with suppress(BrokenPipeError):
        stream.write(data)
        stream.flush()
