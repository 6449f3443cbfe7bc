"""`distpool stack`: what the threads of workers, nodes and heads are doing, here and on other machines."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from distpool.base_errors import DistpoolError
from distpool.cli.output import add_head, add_json, print_facts
from distpool.ids import NodeId
from distpool.logic.shown import shown
from distpool.protocol.cluster import AskStacks
from distpool.protocol.inquiries import ProcessStack, StacksTold
from distpool.runtime.own_log import HEAD
from distpool.runtime.stack_answers import mark_of
from distpool.runtime.stacks import Askable, askable_processes, stacks_of, those_below
from distpool.transport.home import home_folder

if TYPE_CHECKING:
    from distpool.cli.output import Commands

_LONGEST_LINE = 1024


def add_to(commands: Commands) -> None:
    stack = commands.add_parser("stack", help="what the head, a node with its workers, or one process is doing")
    which = stack.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "which",
        nargs="?",
        metavar="head|NODE|PID",
        help="the head or a node of the cluster, on whatever machine, or any process of this one",
    )
    which.add_argument("--all", action="store_true", help="all heads, nodes and workers of this user on this machine")
    add_head(stack)
    add_json(stack)
    stack.set_defaults(run=_stack)


def _stack(options: argparse.Namespace) -> int:
    home = home_folder()
    there = askable_processes()
    chosen = there if options.all else _chosen_here(there, options.which, home)
    told = _told_elsewhere(there, options, home) if chosen is None else _told_here(chosen)
    facts = [{"pid": process.pid, "role": process.role, "stack": process.stack} for process in told]
    text = "\n\n".join(f"== {fact['role']}, process {fact['pid']}\n{fact['stack']}" for fact in facts)
    print_facts({"processes": facts}, options, text or "there is no head, node or worker of this user on this machine")
    return 0


def _told_here(chosen: list[Askable]) -> list[ProcessStack]:
    return [
        ProcessStack(process.pid, process.role, stack) for process, stack in zip(chosen, stacks_of(chosen), strict=True)
    ]


def _chosen_here(there: list[Askable], which: str, home: str) -> list[Askable] | None:
    """An agent by its name with the workers below it, or any process by its number; None when there is no such agent
    here. Raises DistpoolError for a number that is of none."""
    roots = {pid for pid, role in _agents(there, home).items() if role == _role(which)}
    if roots:
        return those_below(roots, there)
    if not which.isdecimal():
        return None
    found = [process for process in there if process.pid == int(which)]
    if found:
        return found
    raise DistpoolError(
        f"process {which} is no head, node or worker of distpool of this user, so nothing was sent to it; "
        "`distpool stack --all` shows those that there are"
    )


def _told_elsewhere(there: list[Askable], options: argparse.Namespace, home: str) -> list[ProcessStack]:
    """By the agent itself, where it is. Raises DistpoolError."""
    from distpool.cli.asking import Asking

    try:
        asking = Asking(options.head)
    except DistpoolError as error:
        names = ", ".join(sorted(role.removeprefix("node ") for role in _agents(there, home).values())) or "none"
        raise DistpoolError(
            f"no {_role(options.which)} of the cluster of {home} runs on this machine (there are: {names}), "
            f"and no head to ask for it: {error}"
        ) from None
    with asking:
        told = asking.answer(AskStacks(NodeId(options.which), asking.next_number()), StacksTold)
    return [ProcessStack(process.pid, shown(process.role), _shown(process.stack)) for process in told.processes]


def _agents(there: list[Askable], home: str) -> dict[int, str]:
    """The roles of those of this folder's cluster."""
    mark = mark_of(home)
    return {process.pid: process.role for process in there if process.cluster == mark}


def _role(which: str) -> str:
    return which if which == HEAD else f"node {which}"


def _shown(stack: str) -> str:
    return "\n".join(shown(line, _LONGEST_LINE) for line in stack.split("\n"))
