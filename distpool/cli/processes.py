"""`distpool head` and `distpool node`: the processes of a cluster, which run until a signal ends them."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
from typing import TYPE_CHECKING

from distpool.base_errors import UnusableKey
from distpool.cli.drain import drain
from distpool.cli.keys import add_token
from distpool.cli.output import add_head, add_json, print_facts, seconds
from distpool.quantities import from_json, size_bytes
from distpool.runtime.own_log import HEAD
from distpool.settings import current, set_by_argument
from distpool.transport.keys import KeyFolder, Part

if TYPE_CHECKING:
    from distpool.cli.output import Commands

_log = logging.getLogger("distpool")


def add_to(commands: Commands) -> None:
    head = commands.add_parser("head", help="run the head of a cluster; its address and its keys' folder are printed")
    head.add_argument("--host", default="127.0.0.1", help="where to listen; 0.0.0.0 for all interfaces (%(default)s)")
    head.add_argument("--port", type=_port, help="0 for any that is free (7117, or any that is free if that is taken)")
    add_json(head)
    head.set_defaults(run=_head)

    node = commands.add_parser("node", help="offer this machine's CPUs to a cluster")
    add_head(node)
    node.add_argument(
        "--name", type=_node_name, default=socket.gethostname(), help="must differ from all others' (%(default)s)"
    )
    node.add_argument("--cpus", type=at_least_one, default=len(os.sched_getaffinity(0)), help="how many (%(default)s)")
    node.add_argument(
        "--memory", type=_size, metavar="SIZE", help='for tasks that ask for memory, as "8GiB" (all of it)'
    )
    node.add_argument("--gpus", type=_whole_number, metavar="COUNT", help="the first so many (all that are found)")
    node.add_argument(
        "--resources", type=_json, metavar="JSON", help="""what else it has, as '{"tpu": 2}' (the setting resources)"""
    )
    node.add_argument("--labels", type=_json, metavar="JSON", help="""as '{"zone": "eu"}' (the setting node_labels)""")
    node.add_argument("--port", type=_port, default=0, help="where programs reach it; 0 for any that is free")
    add_token(node)
    node.add_argument(
        "--drain",
        metavar="NODE",
        help="start none, but have this one leave: it gets no more workers, and ends when its calls are done",
    )
    node.add_argument(
        "--timeout", type=seconds, default=0.0, help='how long calls may take after --drain, as "30s" (no limit)'
    )
    node.set_defaults(run=_node)


def _head(options: argparse.Namespace) -> None:
    from distpool.runtime.head_process import serve_head
    from distpool.runtime.own_log import keeping_log
    from distpool.runtime.stack_answers import answer_for_stacks, mark_of

    folder = KeyFolder.of_user()

    def tell(address: str) -> None:
        facts = {"address": address, "keys": str(folder.path), "pid": os.getpid()}
        print_facts(
            facts, options, f"the head listens at {address}\nthe keys for nodes and drivers lie in {folder.path}"
        )
        _log.info("head, process %d, listens at %s", os.getpid(), address)

    answer_for_stacks(HEAD, mark_of(str(folder.path)))
    with keeping_log(folder.path, HEAD):
        serve_head(folder, options.host, options.port, current().constants, tell)


def _node(options: argparse.Namespace) -> None:
    if options.drain is not None:
        drain(options.head, options.drain, options.timeout)
        return
    from distpool.runtime.addresses import ADDRESS_VARIABLE, LOCAL
    from distpool.runtime.contact import find_head
    from distpool.runtime.joining import join
    from distpool.runtime.machine import prepare_node
    from distpool.runtime.node_process import NodeHost
    from distpool.runtime.offers import first_devices, offer
    from distpool.runtime.own_log import keeping_log, log_place
    from distpool.runtime.serving import Serving
    from distpool.runtime.stack_answers import answer_for_stacks, mark_of

    settings = current().constants
    set_by_argument(resources=options.resources, node_labels=options.labels)
    offered = offer(options.cpus, first_devices(options.gpus), options.memory)
    folder = KeyFolder.of_user()
    prepare_node(options.cpus)
    serving = Serving(gentle=signal.SIGTERM)
    address = find_head(options.head, folder)
    os.environ[ADDRESS_VARIABLE] = LOCAL  # the pools of what workers start are on their own machine
    if options.token_file is not None:
        _join_first(options.token_file, address, folder)
    identity = folder.identity(Part.NODE)

    def tell() -> None:
        print(f"node {options.name} has joined the head at {address}", flush=True)
        _log.info("node %s, process %d, has joined the head at %s", options.name, os.getpid(), address)

    answer_for_stacks(f"node {options.name}", mark_of(str(folder.path)))
    with keeping_log(folder.path, options.name):
        head = join(address, f"node {options.name}", identity, settings)
        log = log_place(folder.path, options.name)
        host = NodeHost(head, identity, options.name, offered, settings, options.port, log)
        host.serve(serving, tell)


def _node_name(text: str) -> str:
    if not text or text == HEAD:
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a node: commands take it for the head's, or for none")
    return text


def _join_first(token_file: str, address: str, folder: KeyFolder) -> None:
    """Unless this machine has a key: then the token was used when the node was started before."""
    from distpool.runtime.enrolling import enrol, read_token

    path = folder.path_of(Part.NODE)
    if path.exists():
        print(f"{path} is there already, and used; the token is not needed", flush=True)
        return
    token = read_token(token_file)
    if token.identity.part is not Part.NODE:
        raise UnusableKey(
            f"{token_file} holds a token for a {token.identity.part.value}, where one for a node is needed"
        )
    enrol(address, token, folder, current().constants)


def _port(text: str) -> int:
    port = _whole_number(text)
    if not 0 <= port < 65536:
        raise argparse.ArgumentTypeError(f"{port} is not from 0 to 65535")
    return port


def at_least_one(text: str) -> int:
    """For an option that takes a number of things."""
    count = _whole_number(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{count} is not at least 1")
    return count


def _size(text: str) -> int:
    try:
        return size_bytes(text, "--memory", smallest=1)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _json(text: str) -> object:
    try:
        return from_json(text, "the value")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
