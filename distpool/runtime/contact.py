"""Where a head is found: the file in its keys' folder that says so while it runs, and addresses that people give."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

from distpool.base_errors import DistpoolError
from distpool.runtime.addresses import ADDRESS_VARIABLE, configured_address
from distpool.transport.keys import KeyFolder
from distpool.transport.private_files import read_private, write_private

DEFAULT_PORT = 7117

_ADDRESS = re.compile(r"(?:tcp://)?(?P<host>\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::(?P<port>[0-9]{1,5}))?")
_FORMS = f"it must be like tcp://host:{DEFAULT_PORT}, host:port, or host for port {DEFAULT_PORT}"


class Contact:
    """A head's hold on its folder: one head at a time, and a file that says where it listens. It ends with its process,
    however that ends."""

    def __init__(self, folder: KeyFolder) -> None:
        """Raises DistpoolError when a head of this folder runs already."""
        self._path = _file_of(folder)
        self._lock = os.open(_lock_of(folder), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            address = _told_address(self._path)
            where = "" if address is None else f" at {address}"
            raise DistpoolError(
                f"a head of {folder.path} runs already{where}: stop it, or set DISTPOOL_HOME to another folder for "
                "another cluster"
            ) from None

    def last_port(self) -> int | None:
        """Where the head before this one listened: its nodes look for it there."""
        address = _told_address(self._path)
        return None if address is None else urlsplit(address).port

    def tell(self, address: str) -> None:
        """From now on others find the head there."""
        lines = [f'address = "{address}"', f'host = "{socket.gethostname()}"', f"pid = {os.getpid()}"]
        write_private(self._path, "\n".join(lines) + "\n", replace=True)

    def end(self) -> None:
        os.close(self._lock)


def find_head(given: str | None, folder: KeyFolder) -> str:
    """The address of the head: what is given, or what DISTPOOL_ADDRESS says, or that of the head that runs here.

    Raises DistpoolError when there is none, and for an address of another form.
    """
    if given is not None:
        return parse_address(given, "the address of the head")
    configured = configured_address()
    if configured is not None:
        return parse_address(configured, f"the environment variable {ADDRESS_VARIABLE}")
    address = _told_address(_file_of(folder))
    if address is None or not runs_here(folder):
        raise DistpoolError(
            f"no head of {folder.path} runs on this machine: start one with `distpool head`, or say where it is with "
            f"--head or {ADDRESS_VARIABLE}"
        )
    return address


def parse_address(text: str, name: str) -> str:
    """Raises DistpoolError that lists the accepted forms."""
    match = _ADDRESS.fullmatch(text.strip())
    port = int((match and match["port"]) or DEFAULT_PORT)
    if match is None or not 0 < port < 65536:
        raise DistpoolError(f"{name} is {text!r}; {_FORMS}")
    return f"tcp://{match['host']}:{port}"


def is_endpoint(text: str) -> bool:
    """Whether this is the address of a port, in the one form that sockets take."""
    match = _ADDRESS.fullmatch(text)
    return match is not None and text == f"tcp://{match['host']}:{match['port']}" and 0 < int(match["port"]) < 65536


def _told_address(path: Path) -> str | None:
    try:
        return str(tomllib.loads(read_private(path))["address"])
    except (FileNotFoundError, KeyError, tomllib.TOMLDecodeError):
        return None


def runs_here(folder: KeyFolder) -> bool:
    """Whether the head of this folder, which wrote the file, still runs; of one on another machine, with the same
    folder, it is not known, and assumed."""
    try:
        if tomllib.loads(read_private(_file_of(folder)))["host"] != socket.gethostname():
            return True
        lock = os.open(_lock_of(folder), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, KeyError, tomllib.TOMLDecodeError):
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _file_of(folder: KeyFolder) -> Path:
    return folder.path / "head.contact"


def _lock_of(folder: KeyFolder) -> Path:
    return folder.path / "head.lock"
