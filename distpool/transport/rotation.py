"""The change of a head's pair while its cluster runs.

The next pair lies beside the present one for a while, in which the head, still under the old key, tells everyone who is
connected, or connects, what its key will be. They put that into their key files. Then the head listens with the new
pair, at the same port, and the old one is worth nothing: who was told connects with the new key, and forgets the old
one as soon as the head has answered. Each step is one write of one file, so the change goes on where it was when a
process is killed in the middle of it.
"""

from __future__ import annotations

import os
import tomllib

from distpool.transport.keys import MEMBERS, NEXT_HEAD, Identity, KeyFolder, Part, read_identity, write_identity
from distpool.transport.private_files import read_private

LONGEST_OVERLAP_S = 86_400
_OVERLAP = "overlap_s"


def begin_rotation(folder: KeyFolder, overlap_s: float) -> Identity:
    """By who owns the head's folder: the next pair, which the head shall have after so many seconds. Raises ValueError
    when one is waiting already, and for a time out of bounds."""
    if not 0 <= overlap_s <= LONGEST_OVERLAP_S:
        raise ValueError(f"a key can be announced for 0 to {LONGEST_OVERLAP_S} seconds, not for {overlap_s:g}")
    with folder.locked():
        if folder.next_head() is not None:
            raise ValueError("the head's key is being changed already: wait until that is done")
        present, coming = folder.identity(Part.HEAD), Identity.make(Part.HEAD)
        for path in map(folder.path_of, MEMBERS):
            if path.exists() and (identity := read_identity(path)).head == present.public:
                identity.next_head = coming.public
                write_identity(path, identity, replace=True)
        write_identity(folder.path / NEXT_HEAD, coming, more=(f"{_OVERLAP} = {overlap_s}",))
    return coming


def is_rotating(folder: KeyFolder) -> bool:
    """Whether the next pair is still to become the head's."""
    with folder.locked():
        return folder.next_head() is not None


def rotation_overlap_s(folder: KeyFolder) -> float:
    """For how long the next pair is to be announced; 0 when there is none. Raises ValueError for what is no time."""
    try:
        return float(tomllib.loads(read_private(folder.path / NEXT_HEAD)).get(_OVERLAP, 0))
    except FileNotFoundError:
        return 0.0


def take_up_next(folder: KeyFolder) -> Identity:
    """By the head, which is about to listen with it: the next pair is its own from now on."""
    with folder.locked():
        coming = read_identity(folder.path / NEXT_HEAD)
        write_identity(folder.path_of(Part.HEAD), coming, replace=True)
    return coming


def end_rotation(folder: KeyFolder) -> None:
    """By the head, which listens with the next pair: whoever is let in knows that one only. Tokens, which name the old
    one, are worth nothing any more."""
    with folder.locked():
        public = folder.identity(Part.HEAD).public
        for path in map(folder.path_of, MEMBERS):
            if path.exists() and (identity := read_identity(path)).next_head == public:
                identity.head, identity.next_head = public, ""
                write_identity(path, identity, replace=True)
        folder.write_allowed(folder.allow_list().members())
        os.unlink(folder.path / NEXT_HEAD)


def expect_head(identity: Identity, public: str) -> None:
    """By a member, whom its head has told what its key will be. Raises OSError and DistpoolError when that cannot be
    written into its file; it is known to this process all the same."""
    if public != identity.head:
        identity.next_head = public
        _keep(identity)


def accept_head(identity: Identity, public: str) -> None:
    """By a member that has reached its head under this key: no other one is the head's any more. Raises as
    `expect_head`."""
    identity.head, identity.next_head = public, ""
    _keep(identity)


def _keep(identity: Identity) -> None:
    """Several processes may have the same file; what is newer stays."""
    if identity.path is None:
        return
    with KeyFolder(identity.path.parent).locked():
        there = read_identity(identity.path)
        if there.public != identity.public or there.head == identity.next_head:
            return
        if (there.head, there.next_head) != (identity.head, identity.next_head):
            write_identity(identity.path, identity, replace=True)
