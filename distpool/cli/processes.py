"""`distpool head` and `distpool node`: the processes of a cluster, which run until a signal ends them."""

from __future__ import annotations

import argparse
import os
import signal
import socket
from typing import TYPE_CHECKING

from distpool.cli.drain import drain, time_limit_s
from distpool.cli.output import add_head, add_json, print_facts
from distpool.config import SETTINGS
from distpool.transport.keys import KeyFolder, Part

if TYPE_CHECKING:
    from distpool.cli.output import Commands


def add_to(commands: Commands) -> None:
    head = commands.add_parser("head", help="run the head of a cluster; its address and its keys' folder are printed")
    head.add_argument("--host", default="127.0.0.1", help="where to listen; 0.0.0.0 for all interfaces (%(default)s)")
    head.add_argument("--port", type=_port, help="0 for any that is free (7117, or any that is free if that is taken)")
    add_json(head)
    head.set_defaults(run=_head)

    node = commands.add_parser("node", help="offer this machine's CPUs to a cluster")
    add_head(node)
    node.add_argument("--name", default=socket.gethostname(), help="must differ from all others' (%(default)s)")
    node.add_argument("--cpus", type=_cpus, default=len(os.sched_getaffinity(0)), help="how many (%(default)s)")
    node.add_argument(
        "--drain",
        metavar="NODE",
        help="start none, but have this one leave: it gets no more workers, and ends when its calls are done",
    )
    node.add_argument(
        "--timeout", type=time_limit_s, default=0.0, help='how long calls may take after --drain, as "30s" (no limit)'
    )
    node.set_defaults(run=_node)


def _head(options: argparse.Namespace) -> None:
    from distpool.runtime.head_process import serve_head

    folder = KeyFolder.of_user()

    def tell(address: str) -> None:
        facts = {"address": address, "keys": str(folder.path), "pid": os.getpid()}
        print_facts(
            facts, options, f"the head listens at {address}\nthe keys for nodes and drivers lie in {folder.path}"
        )

    serve_head(folder, options.host, options.port, SETTINGS, tell)


def _node(options: argparse.Namespace) -> None:
    if options.drain is not None:
        drain(options.head, options.drain, options.timeout)
        return
    from distpool.runtime.addresses import ADDRESS_VARIABLE
    from distpool.runtime.contact import find_head
    from distpool.runtime.joining import join
    from distpool.runtime.node_process import NodeHost
    from distpool.runtime.serving import Serving

    serving = Serving(gentle=signal.SIGTERM)
    folder = KeyFolder.of_user()
    address = find_head(options.head, folder)
    os.environ.pop(ADDRESS_VARIABLE, None)  # the pools that workers open are on their own machine
    identity = folder.identity(Part.NODE)
    head = join(address, f"node {options.name}", identity, SETTINGS)
    host = NodeHost(head, identity, options.name, options.cpus, SETTINGS)
    host.serve(serving, lambda: print(f"node {options.name} has joined the head at {address}", flush=True))


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
