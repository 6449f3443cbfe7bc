"""What a head keeps on disk, so that the next one goes on where it was: nodes, leases by their nodes, groups,
and the names of actors.

HeadRole ── records ──► Ledger ── one transaction for a turn ──► head.db (SQLite, mode 0600)

A transaction is written before the messages of its turn are sent, and is not waited for until it is on the disk
(write-ahead log, `synchronous=NORMAL`): a head that is killed has lost nothing of it, as the system writes it out; with
the machine the last ones may be lost, the file is sound all the same, and nodes tell what is missing.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
from collections.abc import Iterable
from pathlib import Path

import msgspec

from distpool.base_errors import DistpoolError
from distpool.protocol.names import NamedActor
from distpool.protocol.records import (
    Kept,
    LeaseForgotten,
    LeaseKept,
    NameForgotten,
    NameKept,
    NodeForgotten,
    NodeKept,
    PlacesForgotten,
    PlacesKept,
    Record,
)

_FORMAT = 2
_TABLES = """
CREATE TABLE IF NOT EXISTS nodes (node TEXT PRIMARY KEY, life INTEGER, cpus INTEGER, memory INTEGER, drain_s REAL,
  more BLOB);
CREATE TABLE IF NOT EXISTS leases (lease INTEGER PRIMARY KEY, node TEXT, caller INTEGER, is_lost INTEGER);
CREATE TABLE IF NOT EXISTS places (number INTEGER PRIMARY KEY, about BLOB);
CREATE TABLE IF NOT EXISTS names (namespace TEXT, name TEXT, about BLOB, PRIMARY KEY (namespace, name));
CREATE TABLE IF NOT EXISTS epochs (epoch INTEGER PRIMARY KEY);
"""
_NODES = "SELECT node, life, cpus, memory, drain_s, more FROM nodes ORDER BY rowid"
_LEASES = "SELECT lease, node, caller, is_lost FROM leases ORDER BY lease"

_log = logging.getLogger("distpool.head")


class Ledger:
    """Owned by the thread that runs the head's turns. One head at a time uses the file: it holds its folder's lock."""

    def __init__(self, path: Path) -> None:
        """A file that cannot be used is moved aside, and the log says so. Raises DistpoolError when a new one cannot be
        made."""
        self._path = path
        self._kept = Kept(0)
        self._epoch: int | None = None
        try:
            self._database: sqlite3.Connection | None = self._open()
        except (sqlite3.Error, msgspec.DecodeError, TypeError, OSError, _Unusable) as error:
            try:
                aside = self._move_aside()
                self._database = self._open()
            except (sqlite3.Error, OSError) as again:
                raise DistpoolError(f"{path} cannot be made: {again}; is the disk full, or read-only?") from again
            _log.warning(
                "%s cannot be used (%s): it was moved to %s, and this head learns from its nodes what they have",
                path,
                error,
                aside.name,
            )

    def begin(self, life: int) -> Kept:
        """What the head before has left. A new epoch begins: after its own, or by chance (`life`) if that is lost."""
        epoch = life if self._epoch is None else self._epoch + 1
        self._write([("DELETE FROM epochs", ()), ("INSERT INTO epochs VALUES (?)", (epoch,))])
        return msgspec.structs.replace(self._kept, lease_epoch=epoch)

    def keep(self, records: Iterable[Record]) -> None:
        """All of them, or none. When they cannot be written the log says so, and nothing is kept any more."""
        self._write(map(_statement, records))

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _open(self) -> sqlite3.Connection:
        _claim(self._path)
        database = sqlite3.connect(self._path, isolation_level=None)
        try:
            # Exclusive: no third file, with memory that processes share, is needed.
            for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=NORMAL", "trusted_schema=OFF"):
                database.execute(f"PRAGMA {pragma}").fetchall()
            (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if found != "ok" or version not in (0, _FORMAT):
                raise _Unusable(f"it is of format {version}, and not {_FORMAT}" if found == "ok" else found)
            database.executescript(f"{_TABLES}PRAGMA user_version={_FORMAT};")
            self._read(database)
        except BaseException:
            database.close()
            raise
        return database

    def _read(self, database: sqlite3.Connection) -> None:
        rows = [(*node, *msgspec.msgpack.decode(more)) for *node, more in database.execute(_NODES)]
        nodes = msgspec.convert(rows, list[NodeKept])
        leases = msgspec.convert(
            [(*lease, bool(is_lost)) for *lease, is_lost in database.execute(_LEASES)], list[LeaseKept]
        )
        places = [
            msgspec.msgpack.decode(about, type=PlacesKept)
            for (about,) in database.execute("SELECT about FROM places ORDER BY rowid")
        ]
        names = [
            msgspec.msgpack.decode(about, type=NamedActor)
            for (about,) in database.execute("SELECT about FROM names ORDER BY rowid")
        ]
        self._kept = Kept(0, nodes, leases, places, names)
        row = database.execute("SELECT max(epoch) FROM epochs").fetchone()
        self._epoch = msgspec.convert(row[0], int | None)

    def _write(self, statements: Iterable[tuple[str, tuple[object, ...]]]) -> None:
        if self._database is None:
            return
        try:
            self._database.execute("BEGIN")
            for statement, values in statements:
                self._database.execute(statement, values)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            self.close()
            for name in _files_of(self._path):  # what is old would be worse than nothing to the next head
                name.unlink(missing_ok=True)
            _log.error(
                "%s cannot be written (%s), and was removed: the next head learns from its nodes what they have",
                self._path,
                error,
            )

    def _move_aside(self) -> Path:
        """The first name that is free gets it; its log, which belongs to no other file, goes with it."""
        number = 1
        while os.path.lexists(aside := self._path.with_name(f"{self._path.name}.damaged-{number}")):
            number += 1
        for file in _files_of(self._path):
            if os.path.lexists(file):
                file.rename(f"{aside}{file.name.removeprefix(self._path.name)}")
        return aside


class _Unusable(Exception):
    """The file is there, and is not ours to use."""


def _claim(path: Path) -> None:
    """See that there is a file of mode 0600 which belongs to this user."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o077:
            raise _Unusable(f"its mode is {stat.S_IMODE(about.st_mode):04o}, it belongs to user {about.st_uid}")
    finally:
        os.close(descriptor)


def _files_of(path: Path) -> list[Path]:
    return [path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-journal")]


def _statement(record: Record) -> tuple[str, tuple[object, ...]]:
    match record:
        case NodeKept():
            *columns, devices, custom, labels = msgspec.structs.astuple(record)
            more = msgspec.msgpack.encode((devices, custom, labels))
            return "INSERT OR REPLACE INTO nodes VALUES (?, ?, ?, ?, ?, ?)", (*columns, more)
        case NodeForgotten(node):
            return "DELETE FROM nodes WHERE node = ?", (node,)
        case LeaseKept():
            return "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?)", msgspec.structs.astuple(record)
        case PlacesKept(group):
            return "INSERT OR REPLACE INTO places VALUES (?, ?)", (group, msgspec.msgpack.encode(record))
        case PlacesForgotten(group):
            return "DELETE FROM places WHERE number = ?", (group,)
        case NameKept(actor):
            about = msgspec.msgpack.encode(actor)
            return "INSERT OR REPLACE INTO names VALUES (?, ?, ?)", (actor.namespace, actor.name, about)
        case NameForgotten(namespace, name):
            return "DELETE FROM names WHERE namespace = ? AND name = ?", (namespace, name)
        case LeaseForgotten(lease):
            return "DELETE FROM leases WHERE lease = ?", (lease,)
