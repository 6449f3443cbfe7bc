"""Key files: who this process is, whom it trusts, and whom a head lets in.

A cluster's folder belongs to one user and has mode 0700, each file in it 0600. `head.key` is the head's own pair.
`node.key` and `driver.key` hold a pair of their own and the head's public key: on another machine one of them is all
that is needed. `allowed` lists the public keys that the head lets in, each with what it is good for; it is read again
when it has changed. Secrets are in these files and nowhere else: no argument, environment variable, log line or `repr`
has one.
"""

from __future__ import annotations

import fcntl
import os
import re
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
    """A pair of keys, what it is good for, and the public key of the head that it belongs to."""

    __slots__ = ("_secret", "head", "part", "public")

    def __init__(self, part: Part, public: str, secret: str, head: str) -> None:
        self.part = part
        self.public = public
        self.head = head
        self._secret = secret

    @classmethod
    def make(cls, part: Part, head: str = "") -> Identity:
        """A new pair. A head is its own head."""
        public, secret = (key.decode() for key in zmq.curve_keypair())
        return cls(part, public, secret, head or public)

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
    return found


def _identity_in(text: str) -> Identity | str:
    """Or what is wrong with it."""
    try:
        fields = tomllib.loads(text)
        public, secret, head = (fields[name] for name in ("public", "secret", "head"))
        if not (_is_key(public) and _is_key(secret) and _is_key(head)):
            return "a key in it has not the form of one"
        if zmq.curve_public(secret.encode()).decode() != public:
            return "its public key does not belong to its secret key"
        return Identity(Part(fields["part"]), public, secret, head)
    except (tomllib.TOMLDecodeError, KeyError, ValueError, zmq.ZMQError) as error:
        return f"{type(error).__name__} while it was read"


def write_identity(path: Path, identity: Identity, *, replace: bool = False) -> None:
    """Raises FileExistsError, unless it may `replace` what is there."""
    lines = [
        "# A key of distpool. Whoever can read this file can take part in the cluster and run code in it.",
        f'part = "{identity.part.value}"',
        f'public = "{identity.public}"',
        f'secret = "{identity.secret().decode()}"',
        f'head = "{identity.head}"',
    ]
    write_private(path, "\n".join(lines) + "\n", replace=replace)


class Allowed(NamedTuple):
    """One line of the list of those who are let in."""

    public: str
    part: Part
    name: str


class AllowList:
    """Those whom a head lets in. The file is looked at each time, and read when it is another.

    Both methods raise DistpoolError or OSError when it cannot be read; nobody is let in then.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._members: dict[str, Allowed] = {}

    def find(self, public: str) -> Allowed | None:
        """None: not let in."""
        self._look()
        return self._members.get(public)

    def members(self) -> list[Allowed]:
        self._look()
        return list(self._members.values())

    def _look(self) -> None:
        try:
            about = os.stat(self._path, follow_symlinks=False)
            seen = (about.st_ino, about.st_mtime_ns, about.st_size)
            if seen != self._seen:
                self._members = {member.public: member for member in _parsed(read_private(self._path), self._path)}
                self._seen = seen
        except Exception:
            self._members, self._seen = {}, None
            raise


class KeyFolder:
    """The keys of one cluster of one user."""

    def __init__(self, path: Path) -> None:
        """Raises DistpoolError when the folder is not private."""
        self.path = path
        make_private_folder(path)

    @classmethod
    def of_user(cls) -> KeyFolder:
        """The folder that DISTPOOL_HOME names, or else the user's own."""
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
                f"there is no {path}: `distpool keys new` makes the keys of a new cluster; to join one, copy its "
                f"{part.value}.key there with mode 0600"
            ) from None
        if identity.part is not part:
            raise UnusableKey(f"{path} is the key of a {identity.part.value}, where that of a {part.value} is needed")
        return identity

    def allow_list(self) -> AllowList:
        return AllowList(self.path / ALLOWED)

    def make_missing(self) -> Identity:
        """At a head's first start: its pair, one for nodes and one for drivers, both let in. The head's identity."""
        with self._locked():
            if self.has_head():
                return self.identity(Part.HEAD)
            head = Identity.make(Part.HEAD)
            members = [(Identity.make(part, head.public), part) for part in MEMBERS]
            self._write_allowed([Allowed(identity.public, part, part.value) for identity, part in members])
            for identity, part in members:
                write_identity(self.path_of(part), identity, replace=True)
            write_identity(self.path_of(Part.HEAD), head)
            return head

    def add(self, part: Part, name: str, path: Path) -> Identity:
        """A new pair in a file of its own, for another machine or person: it is let in from now on, under its name.

        Raises ValueError for a name that has another form or is taken, and FileExistsError.
        """
        if part not in MEMBERS:
            raise ValueError(f"a key can be made for a node or a driver, not for a {part.value}")
        if not _NAME.fullmatch(name):
            raise ValueError(f"the name {name!r} of a key must have {_NAME_FORM}")
        with self._locked():
            members = self.allow_list().members()
            if any(member.name == name for member in members):
                raise ValueError(f"there is a key of the name {name!r} already: revoke it, or choose another name")
            identity = Identity.make(part, self.identity(Part.HEAD).public)
            write_identity(path, identity)
            self._write_allowed([*members, Allowed(identity.public, part, name)])
        return identity

    def revoke(self, name: str) -> Allowed:
        """Whoever has this key is not let in any more, and not heard from now on. Raises ValueError for an unknown
        name."""
        with self._locked():
            members = self.allow_list().members()
            for member in members:
                if member.name == name:
                    self._write_allowed([other for other in members if other is not member])
                    return member
        names = ", ".join(sorted(member.name for member in members)) or "none"
        raise ValueError(f"there is no key of the name {name!r}; there are: {names}")

    def _write_allowed(self, members: list[Allowed]) -> None:
        lines = [f"{member.public} {member.part.value} {member.name}" for member in members]
        write_private(self.path / ALLOWED, "".join(f"{line}\n" for line in lines), replace=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """For one process at a time."""
        descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _is_key(key: object) -> bool:
    return isinstance(key, str) and _KEY.fullmatch(key) is not None


def _parsed(text: str, path: Path) -> Iterator[Allowed]:
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields or line.startswith("#"):
            continue
        try:
            public, part, name = fields
            if not (_NAME.fullmatch(name) and _is_key(public)) or Part(part) not in MEMBERS:
                raise ValueError
            yield Allowed(public, Part(part), name)
        except ValueError:
            raise UnusableKey(f"line {number} of {path} has not the form 'PUBLIC-KEY node|driver NAME'") from None
