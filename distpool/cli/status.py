"""`distpool status`: the nodes of a cluster and what they have, and who uses them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import msgspec

from distpool.cli.output import add_head, add_json, print_facts, table
from distpool.logic.shown import shown
from distpool.logic.sizes import size_text
from distpool.protocol.resources import UNIT
from distpool.protocol.standing import NodeFacts, StatusTold

if TYPE_CHECKING:
    from distpool.cli.output import Commands


def add_to(commands: Commands) -> None:
    status = commands.add_parser("status", help="the nodes, the programs that use them, and what is free")
    add_head(status)
    status.add_argument("--leases", action="store_true", help="also who has how many workers on which node")
    status.add_argument("--pending", action="store_true", help="also what is waited for, by whom, and why")
    add_json(status)
    status.set_defaults(run=_status)


def _status(options: argparse.Namespace) -> None:
    from distpool.runtime.asking import asked_status

    status = asked_status(options.head)
    cpus = sum(node.cpus for node in status.nodes)
    free = sum(node.free_cpus for node in status.nodes if node.state != "away") / UNIT
    gpus = sum(node.gpus for node in status.nodes) // UNIT
    free_gpus = sum(node.free_gpus for node in status.nodes if node.state != "away") / UNIT
    waiting = sum(caller.waiting for caller in status.callers)
    facts = {
        "nodes": msgspec.to_builtins(status.nodes),
        "drivers": len(status.callers),
        "callers": msgspec.to_builtins(status.callers),
        "cpus": cpus,
        "free_cpus": free,
        "gpus": gpus,
        "free_gpus": free_gpus,
        "waiting": waiting,
        "actors": msgspec.to_builtins(status.actors),
        "up_s": status.up_s,
    }
    parts = [_nodes_table(status), _resources_table(status), _callers_table(status), _actors_table(status)]
    if options.leases:
        facts["leases"] = msgspec.to_builtins(status.held)
        parts.append(_leases_table(status))
    if options.pending:
        facts["pending"] = msgspec.to_builtins(status.pending)
        parts.append(_pending_table(status))
    gpus_text = f"GPUs: {gpus}, of which free: {free_gpus:g}; " if gpus else ""
    parts.append(
        f"CPUs: {cpus}, of which free: {free:g}; {gpus_text}requests for workers that wait: {waiting}\n"
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


def _resources_table(status: StatusTold) -> str:
    """Of the nodes that have more than CPUs and memory."""
    rows = [
        (node.node, f"{node.gpus / UNIT:g}", f"{node.free_gpus / UNIT:g}", _amounts(node), _labels(node))
        for node in status.nodes
        if node.gpus or node.custom or node.labels
    ]
    return table([("resources of", "GPUs", "free", "others, and free", "labels"), *rows]) if rows else ""


def _amounts(node: NodeFacts) -> str:
    amounts = ((name, amount, node.free_custom.get(name, 0)) for name, amount in node.custom.items())
    return shown(", ".join(f"{name} {amount / UNIT:g}, {free / UNIT:g}" for name, amount, free in amounts)) or "-"


def _labels(node: NodeFacts) -> str:
    return shown(", ".join(f"{key}={value}" for key, value in node.labels.items())) or "-"


def _callers_table(status: StatusTold) -> str:
    rows = [
        (caller.name, str(caller.leases), str(caller.waiting), f"{caller.joined_s:.0f} s ago")
        for caller in status.callers
    ]
    return table([("driver", "leases", "waiting", "joined"), *rows]) if rows else ""


def _actors_table(status: StatusTold) -> str:
    """Of those with names."""
    rows = [
        (
            shown(actor.name),
            shown(actor.namespace),
            shown(actor.class_name),
            "yes" if actor.is_detached else "no",
            actor.program if actor.state == "up" else f"{actor.program} (not back yet)",
        )
        for actor in status.actors
    ]
    return table([("actor", "namespace", "class", "detached", "of"), *rows]) if rows else ""


def _leases_table(status: StatusTold) -> str:
    rows = [(held.node, held.caller or "(not back yet)", str(held.leases)) for held in status.held]
    return table([("leases on", "of", "how many"), *rows]) if rows else "no leases"


def _pending_table(status: StatusTold) -> str:
    rows = [
        (pending.caller, str(pending.wanted), pending.shape, f"{pending.waits_s:.0f} s", pending.why)
        for pending in status.pending
    ]
    return table([("waits", "for", "that have", "since", "because"), *rows]) if rows else "nobody waits"
