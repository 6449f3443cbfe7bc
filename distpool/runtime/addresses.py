"""Whether this process uses a cluster, and where its head is. Nothing else of the runtime is needed to know.

What `distpool.init` was given comes first, then DISTPOOL_ADDRESS, then the head of this user that runs on this machine.
"""

from __future__ import annotations

import os
import re

from distpool.base_errors import DistpoolError
from distpool.runtime import initialization
from distpool.settings import current
from distpool.transport.home import home_folder

ADDRESS_VARIABLE = "DISTPOOL_ADDRESS"
LOCAL = "local"
"""In place of an address: everything runs in this process and its workers, whatever head there is."""

CONTACT = "head.contact"
"""The file in a head's folder that says where it listens."""

DEFAULT_PORT = 7117

_ADDRESS = r"(?:tcp://)?(?P<host>\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::(?P<port>[0-9]{1,5}))?"
_FORMS = f"it must be like tcp://host:{DEFAULT_PORT}, host:port, or host for port {DEFAULT_PORT}"

_worker: list[bool] = []


def be_a_worker() -> None:
    """From now on the pools of this process are on its own machine, unless it calls `distpool.init` itself."""
    initialization.forget()
    _worker.append(True)


def head_address() -> str | None:
    """The address of the head; None: everything runs in this process and its workers. Raises DistpoolError for an
    address of another form."""
    given = initialization.current()
    return undirected_address() if given is None else given.address


def undirected_address() -> str | None:
    """The address where `distpool.init` has named none."""
    if _worker:
        return None
    chosen = current()
    if chosen.address:
        return None if chosen.address == LOCAL else parse_address(chosen.address, chosen.sources["address"])
    folder = home_folder()
    # One look for a file that most users do not have is all that a program of one machine pays.
    if not os.path.lexists(os.path.join(folder, CONTACT)):
        return None
    from distpool.runtime.contact import running_head  # only where there is, or was, a head

    return running_head(folder)


def is_endpoint(text: str) -> bool:
    """Whether this is the address of a port, in the one form that sockets take."""
    match = re.fullmatch(_ADDRESS, text)
    return match is not None and text == f"tcp://{match['host']}:{match['port']}" and 0 < int(match["port"]) < 65536


def parse_address(text: str, name: str) -> str:
    """Raises DistpoolError that lists the accepted forms."""
    match = re.fullmatch(_ADDRESS, text.strip())
    port = int((match and match["port"]) or DEFAULT_PORT)
    if match is None or not 0 < port < 65536:
        raise DistpoolError(f"{name} is {text!r}; {_FORMS}")
    return f"tcp://{match['host']}:{port}"
