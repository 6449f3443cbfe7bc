"""The log that the process of a head or node keeps of itself: a private file that does not grow for ever.

It lies in the folder `logs` of the cluster's folder. Its process has a lock on it, so that it is known which are left
behind by processes that have ended.
"""

from __future__ import annotations

import fcntl
import io
import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO, NamedTuple
from urllib.parse import quote, unquote

from distpool.transport.private_files import make_private_folder

HEAD = "head"

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_LARGEST_BYTES = 1024 * 1024
_OLDER_FILES = 3
_NODE = "node-"
_ENDING = ".log"

_log = logging.getLogger("distpool")


def log_folder(home: Path) -> Path:
    return home / "logs"


def log_path(home: Path, name: str) -> Path:
    """Of the node of this name, or of the head."""
    return log_folder(home) / (f"{HEAD}{_ENDING}" if name == HEAD else f"{_NODE}{quote(name, safe='')}{_ENDING}")


def log_place(home: Path, name: str) -> str:
    """The same with the machine, for people on another one."""
    return f"{socket.gethostname()}:{log_path(home.absolute(), name)}"


def logs_in(home: Path) -> dict[str, Path]:
    """The logs that lie there, by the name of their node, or "head"."""
    paths = sorted(log_folder(home).glob(f"*{_ENDING}"))
    return {HEAD if path.stem == HEAD else unquote(path.stem.removeprefix(_NODE)): path for path in paths}


def parts_of(path: Path) -> list[Path]:
    """The files of one log that there are, newest first."""
    paths = [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, _OLDER_FILES + 1))]
    return [part for part in paths if part.exists()]


def is_kept(path: Path) -> bool:
    """There is this log, and its process lives."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


class Place(NamedTuple):
    """A place in a log. `file`: the number of its file, which goes with it when it gets its next name."""

    file: int
    offset: int


def part_of_log(path: Path, after: Place | None, most: int) -> tuple[str, Place]:
    """Whole lines, at most so many bytes of them, and where they end: what follows a place, or else the last ones. A
    place whose file is gone counts as none. Raises FileNotFoundError when there is no log."""
    with ExitStack() as stack:
        files = _opened(path, stack)
        sizes = {number: os.fstat(file.fileno()).st_size for number, file in files.items()}
        is_known = after is not None and after.file in files
        start = after if after is not None and is_known else _place_before_end(sizes, most)
        if start.offset and not is_known:
            file = files[start.file]
            file.seek(start.offset - 1)
            start = Place(start.file, start.offset - 1 + len(file.readline()))  # where the next line begins
        numbers = list(files)
        pieces: list[bytes] = []
        place = start
        left = most
        for number in numbers[numbers.index(start.file) :]:
            place = Place(number, start.offset if number == start.file else 0)
            files[number].seek(place.offset)
            piece = files[number].read(left)
            if (number == numbers[-1] or len(piece) == left) and b"\n" in piece:
                piece = piece[: piece.rfind(b"\n") + 1]
            elif number == numbers[-1] and len(piece) < most:
                piece = b""  # a line of which there is more to come
            pieces.append(piece)
            left -= len(piece)
            place = Place(number, place.offset + len(piece))
            if place.offset < sizes[number]:
                break
        return b"".join(pieces).decode("utf-8", "replace"), place


def _opened(path: Path, stack: ExitStack) -> dict[int, IO[bytes]]:
    """The files of a log by their numbers, oldest first."""
    files: dict[int, IO[bytes]] = {}
    for part in parts_of(path):
        with suppress(FileNotFoundError):  # all get their next names in this moment
            file = stack.enter_context(open(part, "rb"))  # noqa: SIM115
            files.setdefault(os.fstat(file.fileno()).st_ino, file)
    if not files:
        raise FileNotFoundError(f"there is no log {path}")
    return dict(reversed(files.items()))


def _place_before_end(sizes: dict[int, int], most: int) -> Place:
    """So many bytes before the end, or at the beginning of the oldest file."""
    place = Place(0, 0)
    for number, size in reversed(sizes.items()):
        place = Place(number, max(0, size - most))
        most -= size
        if most <= 0:
            break
    return place


class OwnLog(RotatingFileHandler):
    """Up to four files of 1 MiB."""

    def __init__(self, path: Path) -> None:
        """Raises OSError when it cannot be written to."""
        self._has_failed = False
        super().__init__(path, maxBytes=_LARGEST_BYTES, backupCount=_OLDER_FILES, encoding="utf-8")
        self.setFormatter(logging.Formatter(_FORMAT))

    def _open(self) -> io.TextIOWrapper:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.baseFilename, flags, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return open(descriptor, "a", encoding="utf-8", errors="backslashreplace")

    def handleError(self, record: logging.LogRecord) -> None:
        """A full disk does not stop a node. It is told of once."""
        if not self._has_failed:
            self._has_failed = True
            print(f"distpool: {self.baseFilename} cannot be written to: {sys.exc_info()[1]}", file=sys.stderr)


@contextmanager
def keeping_log(home: Path, name: str) -> Iterator[None]:
    """Within, all that this process logs goes there too, and why it ends. Raises DistpoolError or OSError."""
    make_private_folder(log_folder(home))
    handler = OwnLog(log_path(home, name))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    except Exception as error:
        # In the file alone: on standard error the command itself says it.
        about = {"name": _log.name, "levelno": logging.ERROR, "levelname": "ERROR", "msg": f"{name} ends: {error}"}
        handler.handle(logging.makeLogRecord(about))
        raise
    else:
        _log.info("%s ends as it was told to", name)
    finally:
        root.removeHandler(handler)
        handler.close()
