"""The messages by which an object goes from one store to another: whoever wants it asks for piece after piece of it.

They go by sockets of their own, and not by links: what is lost with a connection is asked for again.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec

from distpool.ids import ObjectId, StoreId
from distpool.protocol.messages import Message

PIECE_BYTES = 1024 * 1024
"""The most that one piece has: little enough that others get their turn."""

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Size = Annotated[int, msgspec.Meta(gt=0, le=PIECE_BYTES)]


class Place(NamedTuple):
    """Where a process listens for transfers, and the public key that it has there."""

    endpoint: str
    public: str


class Hello(Message, tag=120, frozen=True):
    """The end that has connected: what was asked before is lost. `endpoint`: where it listens itself; empty: it does
    not."""

    endpoint: str


class AskObject(Message, tag=121, frozen=True):
    """I want this object. `number`: of the transfer, for all that follows. `avoid`: do not send me there."""

    number: int
    store: StoreId
    object: ObjectId
    avoid: list[str]


class ObjectSized(Message, tag=122, frozen=True):
    """Ask me for its pieces: it has so many bytes."""

    number: int
    size: _Count


class ObjectThere(Message, tag=123, frozen=True):
    """Ask that one: it has the object, or will have it."""

    number: int
    endpoint: str
    public: str


class ObjectGone(Message, tag=124, frozen=True):
    """It is not to be had here."""

    number: int
    text: str


class AskPiece(Message, tag=125, frozen=True):
    """I want so many bytes from there on."""

    number: int
    start: _Count
    size: _Size


class PieceTold(Message, tag=126, frozen=True):
    """The bytes from there on follow in a frame of their own."""

    number: int
    start: _Count


class EndTransfer(Message, tag=127, frozen=True):
    """I ask for no more. `is_whole`: and have it all, so that others can get it from me."""

    number: int
    is_whole: bool


TRANSFER_MESSAGES = Hello | AskObject | ObjectSized | ObjectThere | ObjectGone | AskPiece | PieceTold | EndTransfer
