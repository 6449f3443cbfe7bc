"""A lock for each device of a node, which its agent and all workers that were given the device hold together.

It is one open file that they inherit, so the kernel lets go of it when the last of them has ended, however they ended:
an agent that follows one that was killed offers no device on which an old worker still lives.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from distpool.base_errors import DistpoolError
from distpool.protocol.devices import Device
from distpool.runtime.gpus.equipment import Equipment
from distpool.transport.private_files import make_private_folder

_LIMIT_S = 5.0
"""Workers of an agent that was killed are killed at once; to give back much memory takes a moment."""
_LOOK_EVERY_S = 0.02

_log = logging.getLogger("distpool.node")


def claimed(devices: Sequence[Device], home: Path, node: str, limit_s: float = _LIMIT_S) -> Equipment:
    """Those of a node's devices that nobody has any more, with their locks; the log has the others.

    `home`: the folder of the cluster. Raises DistpoolError when there can be no locks.
    """
    if not devices:
        return Equipment(())
    folder = home / "devices" / quote(node, safe="")
    make_private_folder(folder.parent)
    make_private_folder(folder)
    until = time.monotonic() + limit_s
    free: list[Device] = []
    locks: list[int] = []
    for device in devices:
        path = folder / f"{quote(device.id, safe='')}.lock"
        lock = _lock(path, until)
        if lock is None:
            _log.warning(
                "%s is not offered: %s, which an agent of this node has started, still has it", device.id, _users(path)
            )
        else:
            free.append(device)
            locks.append(lock)
    return Equipment(tuple(free), locks)


def _lock(path: Path, until: float) -> int | None:
    """None: it was not free by then."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                if time.monotonic() >= until:
                    os.close(lock)
                    return None
                time.sleep(_LOOK_EVERY_S)
    except OSError as error:
        raise DistpoolError(f"the lock of a device, {path}, cannot be taken: {error.strerror}") from None


def _users(path: Path) -> str:
    """The processes of this user that have the file open."""
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if any(entry.resolve() == path.resolve() for entry in (folder / "fd").iterdir()):
                pids.append(folder.name)
        except OSError:
            continue  # it is another user's, or has ended
    return f"process {' and '.join(pids)}" if pids else "a process"
