"""Where a head is found: the file in its keys' folder that says so while it runs, and addresses that people give."""

from __future__ import annotations

import fcntl
import os
import socket
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from distpool.base_errors import DistpoolError
from distpool.runtime.addresses import ADDRESS_VARIABLE, CONTACT, LOCAL, parse_address
from distpool.settings import current
from distpool.transport.private_files import read_private, write_private

if TYPE_CHECKING:
    from distpool.transport.keys import KeyFolder  # brings ZeroMQ, which a program of one machine need not have


_LOOK_LIMIT_S = 0.1


class Contact:
    """A head's hold on its folder: one head at a time, and a file that says where it listens. It ends with its process,
    however that ends."""

    def __init__(self, folder: KeyFolder) -> None:
        """Raises DistpoolError when a head of this folder runs already."""
        self._path = _file_of(folder.path)
        self._lock = os.open(_lock_of(folder.path), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if not self._take():
            os.close(self._lock)
            address = _told_address(self._path)
            where = "" if address is None else f" at {address}"
            raise DistpoolError(
                f"a head of {folder.path} runs already{where}: stop it, or set DISTPOOL_HOME to another folder for "
                "another cluster"
            )

    def _take(self) -> bool:
        """Whoever looks whether a head runs has the lock for a moment."""
        until = time.monotonic() + _LOOK_LIMIT_S
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    return False
                time.sleep(0.005)
            else:
                return True

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
    """The address of the head: what is given, or what is set, or that of the head that runs here.

    Raises DistpoolError when there is none, and for an address of another form.
    """
    if given is not None:
        return parse_address(given, "the address of the head")
    chosen = current()
    if chosen.address == LOCAL:
        raise DistpoolError(
            f"{chosen.sources['address']} is {LOCAL!r}, which means no head at all: say with --head where it is, or "
            "take that setting back"
        )
    if chosen.address:
        return parse_address(chosen.address, chosen.sources["address"])
    address = _told_address(_file_of(folder.path))
    if address is None or not runs_here(folder):
        raise DistpoolError(
            f"no head of {folder.path} runs on this machine: start one with `distpool head`, or say where it is with "
            f"--head or {ADDRESS_VARIABLE}"
        )
    return address


def abandoned_contact(home: Path) -> Path | None:
    """The file of a head of this machine that does not run any more."""
    path = _file_of(home)
    try:
        return path if _told(path, "host") == socket.gethostname() and not _is_held(home) else None
    except (DistpoolError, OSError):
        return None


def running_head(folder: str) -> str | None:
    """The address of the head of this folder, if it runs on this machine."""
    path = Path(folder)
    try:
        return _told_address(_file_of(path)) if not _is_elsewhere(path) and _is_held(path) else None
    except (DistpoolError, OSError):  # another user's, under sudo perhaps
        return None


def runs_here(folder: KeyFolder) -> bool:
    """Whether the head of this folder, which wrote the file, still runs; of one on another machine, with the same
    folder, it is not known, and assumed."""
    return _is_elsewhere(folder.path) or _is_held(folder.path)


def _told_address(path: Path) -> str | None:
    return _told(path, "address")


def _told(path: Path, field: str) -> str | None:
    try:
        return str(tomllib.loads(read_private(path))[field])
    except (FileNotFoundError, KeyError, tomllib.TOMLDecodeError):
        return None


def _is_elsewhere(folder: Path) -> bool:
    """The head that wrote the file was on another machine, with the same folder: whether it still runs is not known."""
    return _told(_file_of(folder), "host") not in (None, socket.gethostname())


def _is_held(folder: Path) -> bool:
    """Whether a head of this machine runs."""
    try:
        lock = os.open(_lock_of(folder), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # with others who only look
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _file_of(folder: Path) -> Path:
    return folder / CONTACT


def _lock_of(folder: Path) -> Path:
    return folder / "head.lock"
