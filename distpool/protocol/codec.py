"""Messages to frames and back. A frame is the encoded message, or, when it carries a large payload, a zero byte, the
length of the encoded message, the message, and then the payloads as they are, so that they are not copied twice."""

from __future__ import annotations

from typing import Any

import msgspec

from distpool.errors import ProtocolError
from distpool.protocol.messages import (
    LANE_MESSAGES,
    LINK_MESSAGES,
    TEMPLATE_MESSAGES,
    LargeOutcome,
    Message,
    RunCalls,
    Slice,
)

Buffer = bytes | memoryview
OUT_OF_BAND_BYTES = 32 * 1024
_PREFIX_BYTES = 5

_encode = msgspec.msgpack.Encoder().encode
_lane_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(LANE_MESSAGES)
_template_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(TEMPLATE_MESSAGES)
_link_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(LINK_MESSAGES)


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
    if frame[0] != 0:
        return _decode(_lane_decoder, frame)
    view = memoryview(frame)
    end = _PREFIX_BYTES + int.from_bytes(view[1:_PREFIX_BYTES], "little")
    message = _decode(_lane_decoder, view[_PREFIX_BYTES:end])
    return _attach_payloads(message, view[end:])


def decode_template(frame: Buffer) -> Any:
    """The message of a frame between a launcher and its template. Raises ProtocolError."""
    return _decode(_template_decoder, frame)


def decode_link(frame: Buffer) -> Any:
    """The message of a frame between client, head and node. Raises ProtocolError."""
    return _decode(_link_decoder, frame)


def _decode(decoder: msgspec.msgpack.Decoder[Any], frame: Buffer) -> Any:
    try:
        return decoder.decode(frame)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
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
            slices[position] = Slice(piece.function, piece.mode, piece.count, piece.packed, len(piece.args))
    return RunCalls(slices, message.functions) if tail else message


def _attach_payloads(message: Any, tail: memoryview) -> Any:
    if isinstance(message, LargeOutcome) and isinstance(message.payload, int):
        return LargeOutcome(tail[: message.payload])  # type: ignore[arg-type]
    if not isinstance(message, RunCalls):
        raise ProtocolError(f"a {type(message).__name__} carries no payload")
    slices = []
    for piece in message.slices:
        if isinstance(piece.args, int):
            args, tail = tail[: piece.args], tail[piece.args :]
            slices.append(
                Slice(piece.function, piece.mode, piece.count, piece.packed, args)  # type: ignore[arg-type]
            )
        else:
            slices.append(piece)
    return RunCalls(slices, message.functions)
