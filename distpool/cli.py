"""The command `distpool`: a head, nodes, what is there, and keys.

Facts go to standard output, with `--json` as one JSON object; errors go to standard error, in one line where that is
possible. Exit codes: 0, 1 for what failed, 2 for a command that makes no sense.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from distpool.base_errors import DistpoolError
from distpool.config import SETTINGS
from distpool.logic.sizes import size_text
from distpool.protocol.cluster import AskStatus, StatusTold
from distpool.transport.keys import MEMBERS, KeyFolder, Part


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="distpool: %(message)s", level=logging.INFO)
    try:
        return int(options.run(options) or 0)
    except (DistpoolError, OSError, ValueError) as error:
        print(f"distpool {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="distpool", description=__doc__.split("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    head = commands.add_parser("head", help="run the head of a cluster; its address and its keys' folder are printed")
    head.add_argument("--host", default="127.0.0.1", help="where to listen; 0.0.0.0 for all interfaces (%(default)s)")
    head.add_argument("--port", type=_port, help="0 for any that is free (7117, or any that is free if that is taken)")
    head.add_argument("--json", action="store_true", help="print one JSON object")
    head.set_defaults(run=_head)

    node = commands.add_parser("node", help="offer this machine's CPUs to a cluster")
    _add_head(node)
    node.add_argument("--name", default=socket.gethostname(), help="must differ from all others' (%(default)s)")
    node.add_argument("--cpus", type=_cpus, default=len(os.sched_getaffinity(0)), help="how many (%(default)s)")
    node.set_defaults(run=_node)

    status = commands.add_parser("status", help="which nodes there are, and what they have")
    _add_head(status)
    status.add_argument("--json", action="store_true", help="print one JSON object")
    status.set_defaults(run=_status)

    keys = commands.add_parser("keys", help="make, list and revoke keys")
    verbs = keys.add_subparsers(dest="verb", required=True, metavar="VERB")
    new = verbs.add_parser("new", help="without a name: the keys of a new cluster; with one: a key for a machine")
    new.add_argument("name", nargs="?", help="by which it can be revoked")
    new.add_argument("--part", choices=[part.value for part in MEMBERS], default="node", help="(%(default)s)")
    new.add_argument("--file", type=Path, help="where to write it (NAME.key)")
    new.set_defaults(run=_new_key)
    listed = verbs.add_parser("list", help="who is let in")
    listed.add_argument("--json", action="store_true", help="print one JSON object")
    listed.set_defaults(run=_list_keys)
    revoke = verbs.add_parser("revoke", help="let the owner of a key in no more")
    revoke.add_argument("name")
    revoke.set_defaults(run=_revoke_key)
    verbs.add_parser("show-public", help="the head's public key").set_defaults(run=_show_public)
    return parser


def _add_head(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--head", metavar="ADDRESS", help="DISTPOOL_ADDRESS, or the head that runs on this machine")


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port < 65536:
        raise argparse.ArgumentTypeError(f"{port} is not from 0 to 65535")
    return port


def _cpus(text: str) -> int:
    cpus = int(text)
    if cpus < 1:
        raise argparse.ArgumentTypeError(f"{cpus} is not at least 1")
    return cpus


# Commands -------------------------------------------------------------------------------------------------------------


def _head(options: argparse.Namespace) -> None:
    from distpool.runtime.head_process import serve_head

    folder = KeyFolder.of_user()

    def tell(address: str) -> None:
        facts = {"address": address, "keys": str(folder.path), "pid": os.getpid()}
        _print(facts, options, f"the head listens at {address}\nthe keys for nodes and drivers lie in {folder.path}")

    serve_head(folder, options.host, options.port, SETTINGS, tell)


def _node(options: argparse.Namespace) -> None:
    from distpool.runtime.addresses import ADDRESS_VARIABLE
    from distpool.runtime.contact import find_head
    from distpool.runtime.joining import join
    from distpool.runtime.node_process import NodeHost
    from distpool.runtime.serving import Serving

    serving = Serving()
    folder = KeyFolder.of_user()
    address = find_head(options.head, folder)
    os.environ.pop(ADDRESS_VARIABLE, None)  # the pools that workers open are on their own machine
    identity = folder.identity(Part.NODE)
    head = join(address, f"node {options.name}", identity, SETTINGS)
    host = NodeHost(head, identity, options.name, options.cpus, SETTINGS)
    host.serve(serving, lambda: print(f"node {options.name} has joined the head at {address}", flush=True))


def _status(options: argparse.Namespace) -> None:
    status = _asked_status(options)
    rows = [
        (node.node, str(node.cpus), str(node.leases), size_text(node.memory_bytes), f"{node.joined_s:.0f} s ago")
        for node in status.nodes
    ]
    table = _table([("node", "CPUs", "leases", "memory", "joined"), *rows])
    if not rows:
        table = "no nodes: start one with `distpool node`"
    drivers = status.drivers - 1  # this command is one of them
    facts = {"nodes": msgspec.to_builtins(status.nodes), "drivers": drivers, "up_s": status.up_s}
    _print(facts, options, f"{table}\nthe head has run for {status.up_s:.0f} s; drivers: {drivers}")


def _asked_status(options: argparse.Namespace) -> StatusTold:
    from distpool.runtime.contact import find_head
    from distpool.runtime.joining import ask, join

    folder = KeyFolder.of_user()
    head = join(find_head(options.head, folder), "status", folder.identity(Part.DRIVER), SETTINGS)
    try:
        return ask(head, AskStatus(), StatusTold, SETTINGS)
    finally:
        head.leave()


def _new_key(options: argparse.Namespace) -> None:
    folder = KeyFolder.of_user()
    if options.name is None:
        if folder.has_head():
            raise ValueError(f"there are keys in {folder.path} already; with a name, one more is made")
        folder.make_missing()
        print(f"the keys of a new cluster lie in {folder.path}")
        return
    path = options.file or Path(f"{options.name}.key")
    folder.add(Part(options.part), options.name, path)
    print(f"{path} is the key of a {options.part}: move it to ~/.config/distpool/{options.part}.key on its machine")


def _list_keys(options: argparse.Namespace) -> None:
    members = KeyFolder.of_user().allow_list().members()
    facts = [{"name": member.name, "part": member.part.value, "public": member.public} for member in members]
    rows = [(fact["name"], fact["part"], fact["public"]) for fact in facts]
    _print({"keys": facts}, options, _table([("name", "part", "public key"), *rows]))


def _revoke_key(options: argparse.Namespace) -> None:
    revoked = KeyFolder.of_user().revoke(options.name)
    print(f"the key {revoked.name!r} of a {revoked.part.value} is not let in any more")


def _show_public(options: argparse.Namespace) -> None:
    print(KeyFolder.of_user().identity(Part.HEAD).public)


# Output ---------------------------------------------------------------------------------------------------------------


def _print(facts: dict[str, Any], options: argparse.Namespace, text: str) -> None:
    print(json.dumps(facts) if options.json else text, flush=True)


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


if __name__ == "__main__":
    sys.exit(main())
