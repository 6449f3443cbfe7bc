"""Tokens: each lets one new machine or person join, once and for a short time, without a key that is copied.

A token is a pair of keys of its own. Its text has the secret half and the head's public key; the list of those who are
let in has the public half, from which nobody can find the other one. So its holder and the head recognise each other as
two members do, by CURVE, and nothing of the token travels. By its connection one thing only may be said: the public key
of the pair that the holder has just made. In one write that key takes the token's line in the list.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import time
from itertools import count
from typing import NamedTuple

from zmq.utils.z85 import decode, encode

from distpool.base_errors import UnusableKey
from distpool.transport.keys import (
    Allowed,
    Identity,
    KeyFolder,
    Part,
    check_name,
    is_key,
    read_identity,
    write_identity,
)

LONGEST_S = 7 * 86_400
TEXT_LIMIT = 4096
"""A text that is longer is no token."""

_FORM = re.compile(r"distpool-join-(?P<part>node|driver)-(?P<data>[0-9A-Za-z_-]{107})")
_KEY_BYTES = 32
_TIME_BYTES = 8
_CHECK_BYTES = 8


class Token(NamedTuple):
    """`identity`: the pair, and the public key of the head. `until`: when it expires, in seconds since 1970."""

    identity: Identity
    until: int

    def text(self) -> str:
        """A secret: one word, without the characters that shells and web pages change."""
        identity = self.identity
        data = decode(identity.head) + decode(identity.secret()) + self.until.to_bytes(_TIME_BYTES, "big")
        part = identity.part.value
        word = base64.urlsafe_b64encode(data + _check(part, data)).decode().rstrip("=")
        return f"distpool-join-{part}-{word}"

    @classmethod
    def parse(cls, text: str, source: str) -> Token:
        """Raises UnusableKey, which does not show the text, when it is no token, or not all of one."""
        token = _token_in(text.strip())
        if token is None:
            raise UnusableKey(
                f"{source} holds no token, or not all of one: it is one word that begins with distpool-join-; "
                "`distpool keys token` on the head's machine makes one"
            )
        return token

    def expiry(self) -> str:
        """For people."""
        return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(self.until))


def make_token(folder: KeyFolder, part: Part, name: str | None, valid_s: float) -> tuple[Token, str]:
    """On the head's machine: (a token, its name). Whoever has it may join as `part` under this name (None: the first
    that is free), for so many seconds. Raises ValueError for a name that has another form or is taken, and for a time
    out of bounds."""
    if not 1 <= valid_s <= LONGEST_S:
        raise ValueError(f"a token can be valid for 1 to {LONGEST_S} seconds, not for {valid_s:g}")
    with folder.locked():
        if folder.next_head() is not None:
            raise ValueError("the head's key is being changed, and with it all tokens end: make one after that")
        entries = folder.allow_list().entries()
        taken = {entry.name for entry in entries}
        chosen = name or next(free for number in count(2) if (free := f"{part.value}-{number}") not in taken)
        check_name(part, chosen, entries)
        identity = Identity.make(part, folder.identity(Part.HEAD).public)
        token = Token(identity, int(time.time() + valid_s))
        folder.write_allowed([*entries, Allowed(identity.public, part, chosen, token.until)])
    return token, chosen


def redeem(folder: KeyFolder, token: str, public: str) -> Allowed:
    """By the head: the owner of `public` is let in, and this token, by its own public key, never again. Raises
    ValueError when there is no such token (any more), or the key is another member's."""
    with folder.locked():
        entries = folder.allow_list().entries()
        spent = next((entry for entry in entries if entry.public == token and entry.until is not None), None)
        if spent is None:
            raise ValueError("this token was used, has expired, or was revoked")
        if not is_key(public):
            raise ValueError("what should be let in is no public key")
        if public in {folder.identity(Part.HEAD).public, *(entry.public for entry in entries)}:
            raise ValueError("this key is known already: a new member needs one of its own")
        member = Allowed(public, spent.part, spent.name)
        folder.write_allowed([member if entry is spent else entry for entry in entries])
    return member


def begin_joining(folder: KeyFolder, token: Token) -> Identity:
    """By the holder of a token: the pair that it joins with, kept in a file until it is known whether it was let in. An
    attempt that was cut off is gone on with."""
    path = folder.path / f"{token.identity.part.value}.key.joining"
    with folder.locked():
        try:
            begun = read_identity(path)
        except FileNotFoundError:
            begun = None
        if begun is not None and (begun.part, begun.head) == (token.identity.part, token.identity.head):
            return begun
        made = Identity.make(token.identity.part, token.identity.head)
        write_identity(path, made, replace=True)
        made.path = path
        return made


def end_joining(folder: KeyFolder, identity: Identity) -> None:
    """It was let in: from now on its file is the one that is used. Raises FileExistsError when there is another one."""
    path = folder.path_of(identity.part)
    with folder.locked():
        if path.exists():
            if read_identity(path).public == identity.public:  # the same attempt, by another process
                return
            raise FileExistsError(f"{path} was made meanwhile, with another key: move it away, and join again")
        os.rename(folder.path / f"{path.name}.joining", path)
        identity.path = path


def _token_in(text: str) -> Token | None:
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    data = base64.urlsafe_b64decode(match["data"] + "=")
    data, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
    if check != _check(match["part"], data):
        return None
    head, secret = (encode(data[at : at + _KEY_BYTES]).decode() for at in (0, _KEY_BYTES))
    identity = Identity.of_secret(Part(match["part"]), secret, head)
    return Token(identity, int.from_bytes(data[2 * _KEY_BYTES :], "big"))


def _check(part: str, data: bytes) -> bytes:
    """Against letters that were lost or changed on the way; it keeps nothing secret."""
    return hashlib.sha256(part.encode() + data).digest()[:_CHECK_BYTES]
