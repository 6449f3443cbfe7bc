"""`distpool stack`: what the threads of workers and agents of this machine are doing."""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from distpool.base_errors import DistpoolError
from distpool.cli.output import add_json, print_facts
from distpool.runtime.own_log import HEAD
from distpool.runtime.stack_answers import mark_of
from distpool.runtime.stacks import Askable, ancestors_of, askable_processes, stack_of
from distpool.transport.home import home_folder

if TYPE_CHECKING:
    from distpool.cli.output import Commands

_AT_ONCE = 16


def add_to(commands: Commands) -> None:
    stack = commands.add_parser("stack", help="what the head, a node with its workers, or one process is doing")
    which = stack.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "which",
        nargs="?",
        metavar="head|NODE|PID",
        help="the head or a node of the cluster of this folder, or any process",
    )
    which.add_argument("--all", action="store_true", help="all heads, nodes and workers of this user on this machine")
    add_json(stack)
    stack.set_defaults(run=_stack)


def _stack(options: argparse.Namespace) -> int:
    home = home_folder()
    there = askable_processes()
    chosen = there if options.all else _chosen(there, options.which, home)
    # At the same time, as one that is stopped is waited for.
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        stacks = threads.map(stack_of, chosen)
    facts = [
        {"pid": process.pid, "role": process.role, "stack": stack}
        for process, stack in zip(chosen, stacks, strict=True)
    ]
    text = "\n\n".join(f"== {fact['role']}, process {fact['pid']}\n{fact['stack']}" for fact in facts)
    print_facts({"processes": facts}, options, text or "there is no head, node or worker of this user on this machine")
    return 0


def _chosen(there: list[Askable], which: str, home: str) -> list[Askable]:
    """An agent by its name with the workers below it, or any process by its number. Raises DistpoolError."""
    role = which if which == HEAD else f"node {which}"
    agents = {process.pid: process.role for process in there if process.cluster == mark_of(home)}
    roots = {pid for pid, known in agents.items() if known == role}
    if roots:
        return [process for process in there if process.pid in roots or roots.intersection(ancestors_of(process.pid))]
    if which.isdecimal():
        found = [process for process in there if process.pid == int(which)]
        if found:
            return found
        raise DistpoolError(
            f"process {which} is no head, node or worker of distpool of this user, so nothing was sent to it; "
            "`distpool stack --all` shows those that there are"
        )
    names = ", ".join(sorted(known.removeprefix("node ") for known in agents.values())) or "none"
    raise DistpoolError(f"no {role} of the cluster of {home} runs on this machine; there are: {names}")
