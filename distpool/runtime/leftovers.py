"""What processes of this user have left behind that were killed, or whose machine was: never what a live one has.

What has no lock by which it is known is left alone while it is so young that somebody may be about to use it.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from distpool.runtime.contact import abandoned_contact
from distpool.runtime.own_log import HEAD, log_path, logs_in, parts_of
from distpool.runtime.temporary_folders import abandoned_folders, is_locked
from distpool.settings import Chosen
from distpool.store.spill import PREFIX as SPILL_PREFIX
from distpool.store.spill import default_folder
from distpool.transport.home import home_folder

_SETTLED_S = 60.0
_HALF_WRITTEN = re.compile(r"\.[a-z0-9._-]+-[a-z0-9_]{8}")
"""The name of a file of the cluster's folder while it is written."""


class Leftover(NamedTuple):
    """`why`: nobody needs it."""

    path: Path
    why: str


def leftovers(chosen: Chosen, unused_s: float) -> Iterator[Leftover]:
    """What can be removed. `unused_s`: for how long logs and the like must not have been written to."""
    now = time.time()
    temporary = {Path(folder) for folder in (tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR")) if folder}
    for folder in abandoned_folders(temporary, now):
        yield Leftover(folder, "the process that made this folder has ended")
    for path in _old_files(Path(chosen.spill_folder or default_folder()), f"{SPILL_PREFIX}*", now - _SETTLED_S):
        yield Leftover(path, "the process that made this file ended before it took away its name")
    home = Path(home_folder())
    if not _is_own_folder(home):
        return
    for path in _old_files(home, ".*", now - _SETTLED_S):
        if _HALF_WRITTEN.fullmatch(path.name):
            yield Leftover(path, "the process that wrote this file ended before it was whole")
    contact = abandoned_contact(home)
    # The next head listens where this one did: its nodes look for it there.
    if contact is not None and all(_is_older(path, now - unused_s) for path in (contact, log_path(home, HEAD))):
        yield Leftover(contact, "this head has ended, a while ago")
    for path in logs_in(home).values():
        if _is_older(path, now - unused_s) and not _is_in_use(path):
            for part in parts_of(path):
                yield Leftover(part, "the process that wrote this log has ended, a while ago")


def remove(leftover: Leftover) -> str:
    """Why it could not be removed; empty when it is gone."""
    try:
        if leftover.path.is_dir():
            shutil.rmtree(leftover.path)
        else:
            leftover.path.unlink(missing_ok=True)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _old_files(folder: Path, pattern: str, before: float) -> Iterator[Path]:
    """Files of this user alone."""
    for path in folder.glob(pattern):
        try:
            about = path.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISREG(about.st_mode) and about.st_uid == os.getuid() and about.st_mtime < before:
            yield path


def _is_older(path: Path, before: float) -> bool:
    try:
        about = path.lstat()
    except FileNotFoundError:
        return True
    return about.st_uid == os.getuid() and about.st_mtime < before


def _is_in_use(path: Path) -> bool:
    try:
        return is_locked(path)
    except OSError:
        return True  # what cannot be looked at is left alone


def _is_own_folder(path: Path) -> bool:
    try:
        about = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid()
