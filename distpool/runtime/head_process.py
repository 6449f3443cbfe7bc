"""The process of `distpool head`: a head role, which nodes and drivers reach by CURVE with the keys of its folder."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import closing
from urllib.parse import urlsplit

from distpool.base_errors import DistpoolError
from distpool.config import Settings
from distpool.runtime.addresses import DEFAULT_PORT
from distpool.runtime.contact import Contact
from distpool.runtime.head_keys import HeadKeys
from distpool.runtime.hosting import HeadHost
from distpool.runtime.inquiries import Inquiries
from distpool.runtime.ledger import Ledger
from distpool.runtime.own_log import HEAD
from distpool.runtime.serving import Serving
from distpool.transport.keys import Identity, KeyFolder
from distpool.transport.sockets import Listener

_ALL_INTERFACES = ("0.0.0.0", "::", "*")


def serve_head(folder: KeyFolder, host: str, port: int | None, settings: Settings, tell: Callable[[str], None]) -> None:
    """Run a head until a signal ends it. `tell` gets its address once it listens. What it knows is kept in the folder.

    `port`: None for that of the head before, or 7117, or else any that is free. Raises DistpoolError when a head of
    this folder runs already, or it cannot listen there.
    """
    serving = Serving()
    identity = folder.make_missing()
    contact = Contact(folder)
    ports = [contact.last_port() or DEFAULT_PORT, 0] if port is None else [port]
    try:
        with (
            closing(Ledger(folder.path / "head.db")) as ledger,
            closing(_listen(folder, identity, host, ports)) as listener,
            closing(Inquiries(folder.path, HEAD)) as inquiries,
        ):
            head = HeadHost(listener, settings, time.monotonic(), HeadKeys(folder), ledger, inquiries)
            address = _reachable(listener.endpoint, host)
            contact.tell(address)
            tell(address)
            serving.run(head.turn, head.has_some, head.descriptors())
    finally:
        contact.end()


def _listen(folder: KeyFolder, identity: Identity, host: str, ports: list[int]) -> Listener:
    """At the first of the ports that can be had."""
    for port in ports[:-1]:
        try:
            return Listener(f"tcp://{host}:{port}", identity, folder.allow_list().find)
        except DistpoolError:
            continue  # somebody else has it
    return Listener(f"tcp://{host}:{ports[-1]}", identity, folder.allow_list().find)


def _reachable(endpoint: str, host: str) -> str:
    """The address for others: one that listens everywhere is found by the machine's name."""
    if host in _ALL_INTERFACES:
        return f"tcp://{socket.gethostname()}:{urlsplit(endpoint).port}"
    return endpoint
