"""Messages to frames and back. A frame is the encoded message, or, when it carries a large payload, a zero byte, the
length of the encoded message, the message, and then the payloads as they are, so that they are not copied twice."""

from __future__ import annotations

from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec

from distpool.base_errors import ProtocolError
from distpool.protocol.messages import (
    LANE_MESSAGES,
    TEMPLATE_MESSAGES,
    LargeOutcome,
    Message,
    RunCalls,
)

if TYPE_CHECKING:
    from distpool.protocol.cluster import LinkHeader

Buffer = bytes | memoryview
OUT_OF_BAND_BYTES = 32 * 1024
_PREFIX_BYTES = 5
_NOTHING = memoryview(b"")

_encode = msgspec.msgpack.Encoder().encode
# Of what every program has: made once, and not in each worker.
_lane_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(LANE_MESSAGES)
_template_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(TEMPLATE_MESSAGES)


class _Messages:
    """Those that come by one kind of way, of which few processes have many."""

    def __init__(self, module: str, name: str) -> None:
        self._home = (f"distpool.protocol.{module}", name)

    @cached_property
    def decoder(self) -> msgspec.msgpack.Decoder[Any]:
        """Made with the first frame, as that and the messages' import take up to some milliseconds."""
        module, name = self._home
        return msgspec.msgpack.Decoder(getattr(import_module(module), name))


_store = _Messages("store", "STORE_MESSAGES")
_to_worker = _Messages("link_messages", "TO_WORKER")
_from_worker = _Messages("link_messages", "FROM_WORKER")
_header = _Messages("cluster", "LinkHeader")
_up = _Messages("upcalls", "UP_MESSAGES")
_down = _Messages("upcalls", "DOWN_MESSAGES")
_transfer = _Messages("transfers", "TRANSFER_MESSAGES")
_link = _Messages("link_messages", "LINK_MESSAGES")


def encode(message: Message) -> list[Buffer]:
    """The buffers of the frame, in order."""
    tail: list[Buffer] = []
    if type(message) is RunCalls:
        message = _detach_arguments(message, tail)
    elif type(message) is LargeOutcome and len(_as_buffer(message.payload)) > OUT_OF_BAND_BYTES:
        tail.append(_as_buffer(message.payload))
        message = LargeOutcome(len(tail[0]))
    header = _encode(message)
    if not tail:
        return [header]
    return [b"\0" + len(header).to_bytes(4, "little"), header, *tail]


def decode_lane(frame: Buffer) -> Any:
    """The message of a frame between a caller and a worker. Raises ProtocolError."""
    return _decode_whole(_lane_decoder, frame)


def decode_to_worker(frame: Buffer) -> Any:
    """What a caller elsewhere says to a worker. Raises ProtocolError."""
    return _decode_whole(_to_worker.decoder, frame)


def decode_from_worker(frame: Buffer) -> Any:
    """What a caller elsewhere is told of a worker. Raises ProtocolError."""
    return _decode(_from_worker.decoder, frame)


def decode_store(frame: Buffer) -> Any:
    """The message of a frame between a worker and its node's store. Raises ProtocolError."""
    return _decode(_store.decoder, frame)


def decode_up(frame: Buffer) -> Any:
    """What a worker says to its program by its way up. Raises ProtocolError."""
    return _decode(_up.decoder, frame)


def decode_down(frame: Buffer) -> Any:
    """What a program says to a worker there. Raises ProtocolError."""
    return _decode(_down.decoder, frame)


def decode_template(frame: Buffer) -> Any:
    """The message of a frame between a launcher and its template. Raises ProtocolError."""
    return _decode(_template_decoder, frame)


def decode_link(frame: Buffer) -> Any:
    """The message of a frame between client, head and node. Raises ProtocolError."""
    return _decode(_link.decoder, frame)


def decode_transfer(frame: Buffer) -> Any:
    """The message of a frame between two processes that transfer objects. Raises ProtocolError."""
    return _decode(_transfer.decoder, frame)


def encode_header(header: LinkHeader) -> bytes:
    """What precedes a message on a link."""
    return _encode(header)


def decode_header(frame: Buffer) -> LinkHeader:
    """Raises ProtocolError."""
    return _decode(_header.decoder, frame)  # type: ignore[no-any-return]


def _decode_whole(decoder: msgspec.msgpack.Decoder[Any], frame: Buffer) -> Any:
    if not frame:
        raise ProtocolError("a frame of 0 bytes is no message")
    if frame[0] != 0:
        return _attach_payloads(_decode(decoder, frame), _NOTHING)
    view = memoryview(frame)
    end = _PREFIX_BYTES + int.from_bytes(view[1:_PREFIX_BYTES], "little")
    return _attach_payloads(_decode(decoder, view[_PREFIX_BYTES:end]), view[end:])


def _decode(decoder: msgspec.msgpack.Decoder[Any], frame: Buffer) -> Any:
    try:
        return decoder.decode(frame)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ProtocolError(f"a frame of {len(frame)} bytes is no message: {error}") from error


def _as_buffer(payload: bytes | int) -> bytes:
    assert not isinstance(payload, int)
    return payload


def _detach_arguments(message: RunCalls, tail: list[Buffer]) -> RunCalls:
    slices = message.slices
    for position, piece in enumerate(slices):
        if type(piece.args) is bytes and len(piece.args) > OUT_OF_BAND_BYTES:
            if not tail:
                slices = list(slices)
            tail.append(piece.args)
            slices[position] = msgspec.structs.replace(piece, args=len(piece.args))
    return msgspec.structs.replace(message, slices=slices) if tail else message


def _attach_payloads(message: Any, tail: memoryview) -> Any:
    """Put what follows the header where the header says; it must be all there, and nothing else."""
    rest = tail
    if type(message) is LargeOutcome:
        if isinstance(message.payload, int):
            payload, rest = _cut(rest, message.payload)
            message = LargeOutcome(payload)
    elif type(message) is RunCalls:
        slices = message.slices
        for position, piece in enumerate(slices):
            if isinstance(piece.args, int):
                args, rest = _cut(rest, piece.args)
                slices[position] = msgspec.structs.replace(piece, args=args)
    if rest:
        raise ProtocolError(f"{len(rest)} bytes follow the last payload of a {type(message).__name__}")
    return message


def _cut(tail: memoryview, size: int) -> tuple[Any, memoryview]:
    if not 0 < size <= len(tail):
        raise ProtocolError(f"a payload of {size} bytes is announced where {len(tail)} bytes are left")
    return tail[:size], tail[size:]
