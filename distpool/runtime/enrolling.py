"""The way into a cluster for those who have no key yet: a token lets in the pair that is made here."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from distpool.base_errors import DistpoolError, HeadUnreachable
from distpool.config import Settings
from distpool.protocol.cluster import Enrol, Enrolled
from distpool.runtime.joining import join, reach
from distpool.transport.keys import Identity, KeyFolder, is_key
from distpool.transport.private_files import read_private
from distpool.transport.rotation import expect_head
from distpool.transport.sockets import NOT_LET_IN, OTHER_KEY, TOO_MANY
from distpool.transport.tokens import TEXT_LIMIT, Token, begin_joining, end_joining


def read_token(file: str) -> Token:
    """The token in a private file, or on standard input for "-". Raises DistpoolError and OSError."""
    if file == "-":
        return Token.parse(sys.stdin.read(TEXT_LIMIT), "standard input")
    return Token.parse(read_private(Path(file)), file)


def enrol(address: str, token: Token, folder: KeyFolder, settings: Settings) -> Identity:
    """Join the cluster of the head at this address, and keep the key that is let in from now on in the folder.

    Raises HeadUnreachable when the head does not answer, is another one, or does not accept the token; and
    FileExistsError when there is a key already.
    """
    part = token.identity.part
    path = folder.path_of(part)
    if path.exists():
        raise FileExistsError(f"{path} is there already: use it, or move it away to join with a token")
    identity = begin_joining(folder, token)
    try:
        head, enrolled = reach(address, "holder of a token", token.identity, Enrolled, settings, Enrol(identity.public))
        head.close()
        if is_key(enrolled.next_head):
            expect_head(identity, enrolled.next_head)
    except HeadUnreachable as error:
        if error.refusal != NOT_LET_IN or not _is_let_in(address, identity, settings):
            raise _explained(error, address, token) from None
    end_joining(folder, identity)
    return identity


def _is_let_in(address: str, identity: Identity, settings: Settings) -> bool:
    """Whether the token was spent for this very pair, and only the answer was lost."""
    try:
        join(address, f"new {identity.part.value}", identity, settings).leave()
    except DistpoolError:
        return False
    return True


def _explained(error: HeadUnreachable, address: str, token: Token) -> HeadUnreachable:
    """In terms of the token."""
    if error.refusal == OTHER_KEY:
        what = "the head there has not made this token, or its key was changed since"
    elif error.refusal == TOO_MANY:
        what = "others use this token in this moment; if they should not, revoke it on the head's machine"
    elif error.refusal != NOT_LET_IN:
        return error
    elif time.time() >= token.until:
        what = f"this token has expired at {token.expiry()}"
    else:
        what = "this token was used already, or was revoked"
    return HeadUnreachable(f"{address}: {what}: have another one made with `distpool keys token`")
