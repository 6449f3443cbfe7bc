"""`distpool status`: the nodes of a cluster and what they have, and who uses them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import msgspec

from distpool.cli.output import add_head, add_json, print_facts, table
from distpool.logic.sizes import size_text
from distpool.protocol.standing import AskStatus, StatusTold
from distpool.settings import current
from distpool.transport.keys import KeyFolder, Part

if TYPE_CHECKING:
    from distpool.cli.output import Commands


def add_to(commands: Commands) -> None:
    status = commands.add_parser("status", help="the nodes, the programs that use them, and what is free")
    add_head(status)
    status.add_argument("--leases", action="store_true", help="also who has how many workers on which node")
    add_json(status)
    status.set_defaults(run=_status)


def _status(options: argparse.Namespace) -> None:
    status = asked_status(options.head)
    cpus = sum(node.cpus for node in status.nodes)
    # A node may have more leases than CPUs, when it has come back to a head that knew nothing of them.
    free = sum(max(0, node.cpus - node.leases) for node in status.nodes)
    waiting = sum(caller.waiting for caller in status.callers)
    facts = {
        "nodes": msgspec.to_builtins(status.nodes),
        "drivers": len(status.callers),
        "callers": msgspec.to_builtins(status.callers),
        "cpus": cpus,
        "free_cpus": free,
        "waiting": waiting,
        "up_s": status.up_s,
    }
    parts = [_nodes_table(status), _callers_table(status)]
    if options.leases:
        facts["leases"] = msgspec.to_builtins(status.held)
        parts.append(_leases_table(status))
    parts.append(
        f"CPUs: {cpus}, of which free: {free}; requests for workers that wait: {waiting}\n"
        f"the head has run for {status.up_s:.0f} s; drivers: {len(status.callers)}"
    )
    print_facts(facts, options, "\n\n".join(filter(None, parts)))


def _nodes_table(status: StatusTold) -> str:
    if not status.nodes:
        return "no nodes: start one with `distpool node`"
    rows = [
        (
            node.node,
            node.state,
            str(node.cpus),
            str(node.leases),
            size_text(node.memory_bytes),
            str(node.objects),
            size_text(node.store_bytes),
            "-" if node.state == "away" else f"{node.joined_s:.0f} s ago",
        )
        for node in status.nodes
    ]
    return table([("node", "state", "CPUs", "leases", "memory", "objects", "of", "joined"), *rows])


def _callers_table(status: StatusTold) -> str:
    rows = [
        (caller.name, str(caller.leases), str(caller.waiting), f"{caller.joined_s:.0f} s ago")
        for caller in status.callers
    ]
    return table([("driver", "leases", "waiting", "joined"), *rows]) if rows else ""


def _leases_table(status: StatusTold) -> str:
    rows = [(held.node, held.caller or "(not back yet)", str(held.leases)) for held in status.held]
    return table([("leases on", "of", "how many"), *rows]) if rows else "no leases"


def asked_status(address: str | None) -> StatusTold:
    """What the head says, at the address that was given or is configured. Raises DistpoolError."""
    from distpool.runtime.contact import find_head
    from distpool.runtime.joining import ask, join

    settings = current().constants
    folder = KeyFolder.of_user()
    head = join(find_head(address, folder), "status", folder.identity(Part.DRIVER), settings)
    try:
        return ask(head, AskStatus(), StatusTold, settings)
    finally:
        head.leave()
