"""`distpool status`: the nodes of a cluster and what they have."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import msgspec

from distpool.cli.output import add_head, add_json, print_facts, table
from distpool.config import SETTINGS
from distpool.logic.sizes import size_text
from distpool.protocol.cluster import AskStatus, StatusTold
from distpool.transport.keys import KeyFolder, Part

if TYPE_CHECKING:
    from distpool.cli.output import Commands


def add_to(commands: Commands) -> None:
    status = commands.add_parser("status", help="which nodes there are, and what they have")
    add_head(status)
    add_json(status)
    status.set_defaults(run=_status)


def _status(options: argparse.Namespace) -> None:
    status = asked_status(options.head)
    rows = [
        (
            node.node,
            node.state,
            str(node.cpus),
            str(node.leases),
            size_text(node.memory_bytes),
            "-" if node.state == "away" else f"{node.joined_s:.0f} s ago",
        )
        for node in status.nodes
    ]
    text = table([("node", "state", "CPUs", "leases", "memory", "joined"), *rows])
    if not rows:
        text = "no nodes: start one with `distpool node`"
    drivers = status.drivers - 1  # this command is one of them
    facts = {"nodes": msgspec.to_builtins(status.nodes), "drivers": drivers, "up_s": status.up_s}
    print_facts(facts, options, f"{text}\nthe head has run for {status.up_s:.0f} s; drivers: {drivers}")


def asked_status(address: str | None) -> StatusTold:
    """What the head says, at the address that was given or is configured. Raises DistpoolError."""
    from distpool.runtime.contact import find_head
    from distpool.runtime.joining import ask, join

    folder = KeyFolder.of_user()
    head = join(find_head(address, folder), "status", folder.identity(Part.DRIVER), SETTINGS)
    try:
        return ask(head, AskStatus(), StatusTold, SETTINGS)
    finally:
        head.leave()
