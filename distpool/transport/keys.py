"""Key files: who this process is, whom it trusts, and whom a head lets in.

A cluster's folder belongs to one user and has mode 0700, each file in it 0600. `head.key` is the head's own pair.
`node.key` and `driver.key` hold a pair of their own and the head's public key: on another machine one of them is all
that is needed. `allowed` lists the public keys that the head lets in, each with what it is good for, and those of
tokens (see `tokens`); it is read again when it has changed. Secrets are in these files and nowhere else: no argument,
environment variable, log line or `repr` has one.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import zmq

from distpool.base_errors import UnusableKey
from distpool.transport.home import home_folder
from distpool.transport.private_files import make_private_folder, read_private, write_private

ALLOWED = "allowed"
LOCK = "lock"
NEXT_HEAD = "head.next"

_KEY = re.compile(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")
_NAME_FORM = "1 to 64 letters, digits, dots, dashes and underscores, beginning with a letter or digit"


class Part(Enum):
    """What a process is in a cluster. A key is good for one of them only."""

    HEAD = "head"
    NODE = "node"
    DRIVER = "driver"


MEMBERS = (Part.NODE, Part.DRIVER)


class Identity:
    """A pair of keys, what it is good for, and the public key of the head that it belongs to.

    `next_head`: the key that this head will soon have; empty where none was announced. `path`: of its file, if it has
    one.
    """

    __slots__ = ("_secret", "head", "next_head", "part", "path", "public")

    def __init__(self, part: Part, public: str, secret: str, head: str, next_head: str = "") -> None:
        self.part = part
        self.public = public
        self.head = head
        self.next_head = next_head
        self.path: Path | None = None
        self._secret = secret

    @classmethod
    def make(cls, part: Part, head: str = "") -> Identity:
        """A new pair. A head is its own head."""
        public, secret = (key.decode() for key in zmq.curve_keypair())
        return cls(part, public, secret, head or public)

    @classmethod
    def of_secret(cls, part: Part, secret: str, head: str) -> Identity:
        """The pair whose secret half this is."""
        return cls(part, zmq.curve_public(secret.encode()).decode(), secret, head)

    def secret(self) -> bytes:
        """For the socket that needs it, and for its file."""
        return self._secret.encode()

    def __repr__(self) -> str:
        return f"<Identity of a {self.part.value}, public key {self.public}>"

    def __reduce__(self) -> Any:
        raise TypeError("an identity holds a secret key, which must not travel: pass the path of its file")


def read_identity(path: Path) -> Identity:
    """The identity in a key file. Raises UnusableKey, FileNotFoundError, and DistpoolError when others can read it."""
    found = _identity_in(read_private(path))
    if isinstance(found, str):
        # Not while the first error is handled: its text may show a part of the file.
        raise UnusableKey(f"{path} is no key file of distpool ({found}): make one with `distpool keys new`")
    found.path = path
    return found


def _identity_in(text: str) -> Identity | str:
    """Or what is wrong with it."""
    try:
        fields = tomllib.loads(text)
        public, secret, head = (fields[name] for name in ("public", "secret", "head"))
        next_head = fields.get("next_head", "")
        if not (is_key(public) and is_key(secret) and is_key(head) and (not next_head or is_key(next_head))):
            return "a key in it has not the form of one"
        if zmq.curve_public(secret.encode()).decode() != public:
            return "its public key does not belong to its secret key"
        return Identity(Part(fields["part"]), public, secret, head, next_head)
    except (tomllib.TOMLDecodeError, KeyError, ValueError, zmq.ZMQError) as error:
        return f"{type(error).__name__} while it was read"


def write_identity(path: Path, identity: Identity, *, replace: bool = False, more: tuple[str, ...] = ()) -> None:
    """Raises FileExistsError, unless it may `replace` what is there. `more`: further lines."""
    lines = [
        "# A key of distpool. Whoever can read this file can take part in the cluster and run code in it.",
        f'part = "{identity.part.value}"',
        f'public = "{identity.public}"',
        f'secret = "{identity.secret().decode()}"',
        f'head = "{identity.head}"',
    ]
    if identity.next_head:
        lines.append(f'next_head = "{identity.next_head}"')
    write_private(path, "\n".join([*lines, *more]) + "\n", replace=replace)


class Allowed(NamedTuple):
    """One line of the list of those who are let in. `until`: of a token, which lets a new member join until then, in
    seconds since 1970; None: of a member."""

    public: str
    part: Part
    name: str
    until: int | None = None

    def is_over(self) -> bool:
        """It is a token that has expired."""
        return self.until is not None and time.time() >= self.until


class AllowList:
    """Those whom a head lets in. The file is looked at each time, and read when it is another.

    All methods raise DistpoolError or OSError when it cannot be read; nobody is let in then.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._entries: dict[str, Allowed] = {}

    def find(self, public: str) -> Allowed | None:
        """None: not let in."""
        self._look()
        entry = self._entries.get(public)
        return None if entry is None or entry.is_over() else entry

    def members(self) -> list[Allowed]:
        return [entry for entry in self.entries() if entry.until is None]

    def entries(self) -> list[Allowed]:
        """Members, and tokens that have not expired."""
        self._look()
        return [entry for entry in self._entries.values() if not entry.is_over()]

    def _look(self) -> None:
        try:
            about = os.stat(self._path, follow_symlinks=False)
            seen = (about.st_ino, about.st_mtime_ns, about.st_size)
            if seen != self._seen:
                self._entries = {entry.public: entry for entry in _parsed(read_private(self._path), self._path)}
                self._seen = seen
        except Exception:
            self._entries, self._seen = {}, None
            raise


class KeyFolder:
    """The keys of one cluster of one user."""

    def __init__(self, path: Path) -> None:
        """Raises DistpoolError when the folder is not private."""
        self.path = path
        make_private_folder(path)

    @classmethod
    def of_user(cls) -> KeyFolder:
        """The one that is set as home, or else the user's own. Raises DistpoolError when it is not private."""
        return cls(Path(home_folder()))

    def path_of(self, part: Part) -> Path:
        return self.path / f"{part.value}.key"

    def has_head(self) -> bool:
        return self.path_of(Part.HEAD).exists()

    def identity(self, part: Part) -> Identity:
        """Raises UnusableKey that says how to get one, also when the file is one of another part."""
        path = self.path_of(part)
        try:
            identity = read_identity(path)
        except FileNotFoundError:
            raise UnusableKey(
                f"there is no {path}: `distpool keys new` makes the keys of a new cluster; to join one, take a token "
                f"(`distpool keys token --part {part.value}` on its head's machine), or copy its {part.value}.key "
                "there (mode 0600)"
            ) from None
        if identity.part is not part:
            raise UnusableKey(f"{path} is the key of a {identity.part.value}, where that of a {part.value} is needed")
        return identity

    def next_head(self) -> Identity | None:
        """The pair that the head will soon have, while it is being changed (see `rotation`)."""
        try:
            return read_identity(self.path / NEXT_HEAD)
        except FileNotFoundError:
            return None

    def allow_list(self) -> AllowList:
        return AllowList(self.path / ALLOWED)

    def make_missing(self) -> Identity:
        """At a head's first start: its pair, one for nodes and one for drivers, both let in. The head's identity."""
        with self.locked():
            if self.has_head():
                return self.identity(Part.HEAD)
            head = Identity.make(Part.HEAD)
            members = [(Identity.make(part, head.public), part) for part in MEMBERS]
            self.write_allowed([Allowed(identity.public, part, part.value) for identity, part in members])
            for identity, part in members:
                write_identity(self.path_of(part), identity, replace=True)
            write_identity(self.path_of(Part.HEAD), head)
            return head

    def add(self, part: Part, name: str, path: Path) -> Identity:
        """A new pair in a file of its own, for another machine or person: it is let in from now on, under its name.

        Raises ValueError for a name that has another form or is taken, and FileExistsError.
        """
        with self.locked():
            entries = self.allow_list().entries()
            check_name(part, name, entries)
            identity = Identity.make(part, self.identity(Part.HEAD).public)
            coming = self.next_head()
            identity.next_head = "" if coming is None else coming.public
            write_identity(path, identity)
            self.write_allowed([*entries, Allowed(identity.public, part, name)])
        return identity

    def revoke(self, name: str) -> Allowed:
        """Whoever has this key, or token, is not let in any more, and not heard from now on. Raises ValueError for an
        unknown name."""
        with self.locked():
            entries = self.allow_list().entries()
            for entry in entries:
                if entry.name == name:
                    self.write_allowed([other for other in entries if other is not entry])
                    return entry
        names = ", ".join(sorted(entry.name for entry in entries)) or "none"
        raise ValueError(f"there is no key of the name {name!r}; there are: {names}")

    def write_allowed(self, entries: list[Allowed]) -> None:
        """With the folder locked: the list is this from now on."""
        write_private(self.path / ALLOWED, "".join(f"{_line(entry)}\n" for entry in entries), replace=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """For one process at a time."""
        descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def is_key(key: object) -> bool:
    """Whether it has the form of one half of a pair."""
    return isinstance(key, str) and _KEY.fullmatch(key) is not None


def check_name(part: Part, name: str, entries: list[Allowed]) -> None:
    """Raises ValueError for a part that has no key of its own beside the head, and for a name that has another form or
    is taken."""
    if part not in MEMBERS:
        raise ValueError(f"a key can be made for a node or a driver, not for a {part.value}")
    if not _NAME.fullmatch(name):
        raise ValueError(f"the name {name!r} of a key must have {_NAME_FORM}")
    if any(entry.name == name for entry in entries):
        raise ValueError(f"there is a key of the name {name!r} already: revoke it, or choose another name")


def _line(entry: Allowed) -> str:
    line = f"{entry.public} {entry.part.value} {entry.name}"
    return line if entry.until is None else f"{line} token {entry.until}"


def _parsed(text: str, path: Path) -> Iterator[Allowed]:
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields or line.startswith("#"):
            continue
        try:
            public, part, name, *rest = fields
            if not (_NAME.fullmatch(name) and is_key(public)) or Part(part) not in MEMBERS:
                raise ValueError
            if rest and (len(rest) != 2 or rest[0] != "token"):
                raise ValueError
            yield Allowed(public, Part(part), name, int(rest[1]) if rest else None)
        except ValueError:
            raise UnusableKey(
                f"line {number} of {path} has not the form 'PUBLIC-KEY node|driver NAME [token EXPIRES]'"
            ) from None
