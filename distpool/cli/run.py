"""`distpool run`: a program on a cluster, on one that there is or on one that lives as long as the program."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import TYPE_CHECKING

from distpool.cli.processes import at_least_one
from distpool.transport.keys import KeyFolder

if TYPE_CHECKING:
    import subprocess

    from distpool.cli.output import Commands

_NOT_EXECUTABLE = 126
_NOT_FOUND = 127
_BY_SIGNAL = 128
_SENT_BY_KERNEL = 0x80

_PASSED_ON: set[int] = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}


def add_to(commands: Commands) -> None:
    run = commands.add_parser(
        "run",
        help="run a program on a cluster",
        description="Run a program with DISTPOOL_ADDRESS set. Its exit code is passed on; 128 and the number of the "
        "signal that ended it, as shells say it; 127 when there is no such program.",
        usage="distpool run [--address ADDRESS | --nodes N [--cpus C]] -- PROGRAM [ARGUMENT ...]",
    )
    where = run.add_mutually_exclusive_group()
    where.add_argument("--address", help="of the head (DISTPOOL_ADDRESS, or the head that runs on this machine)")
    where.add_argument(
        "--nodes", type=at_least_one, help="start a cluster of so many nodes here, for this program only"
    )
    run.add_argument("--cpus", type=at_least_one, help="of each of these nodes (this machine's, shared out)")
    run.add_argument("program", nargs=argparse.REMAINDER, help="the program and its arguments, after --")
    run.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    program = options.program[1:] if options.program[:1] == ["--"] else options.program
    if not program:
        print("distpool run: no program was given: distpool run [options] -- PROGRAM [ARGUMENT ...]", file=sys.stderr)
        return 2
    if options.cpus is not None and options.nodes is None:
        print("distpool run: --cpus is of the nodes that --nodes starts: give both or none", file=sys.stderr)
        return 2
    if options.nodes is None:
        return _become(program, options.address)
    cpus = options.cpus or max(1, len(os.sched_getaffinity(0)) // options.nodes)
    return _run_with_cluster(program, options.nodes, cpus)


def _become(program: list[str], address: str | None) -> int:
    """This process goes on as the program."""
    from distpool.runtime.contact import find_head

    environment = {**os.environ, "DISTPOOL_ADDRESS": find_head(address, KeyFolder.of_user())}
    try:
        os.execvpe(program[0], program, environment)
    except OSError as error:
        return _not_started(program[0], error)


def _run_with_cluster(program: list[str], nodes: int, cpus: int) -> int:
    from distpool.runtime.local_cluster import LocalCluster, start_program

    # From now on they wait until they are asked for, so that nothing ends before the cluster is ended.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_PASSED_ON, signal.SIGCHLD})
    try:
        cluster = LocalCluster(nodes, cpus, lambda: bool(_pending()))
    except KeyboardInterrupt:
        return _BY_SIGNAL + min(_pending())
    try:
        try:
            process = start_program(program, cluster.environment, before)
        except OSError as error:
            return _not_started(program[0], error)
        status = _wait_passing_on(process)
        return status if status >= 0 else _BY_SIGNAL - status
    finally:
        cluster.end()


def _not_started(program: str, error: OSError) -> int:
    print(f"distpool run: {program}: {error.strerror}", file=sys.stderr)
    return _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE


def _pending() -> set[int]:
    """The signals that have come and wait."""
    return {number for number in signal.sigpending() if number in _PASSED_ON}


def _wait_passing_on(process: subprocess.Popen[bytes]) -> int:
    """The exit status of the program. It gets the signals that this process gets."""
    while process.poll() is None:
        came = signal.sigwaitinfo({*_PASSED_ON, signal.SIGCHLD})
        # What a terminal sends, all processes of its group get.
        if came.si_signo != signal.SIGCHLD and came.si_code != _SENT_BY_KERNEL:
            process.send_signal(came.si_signo)
    return int(process.returncode)
