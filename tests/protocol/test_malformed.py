"""A hundred thousand frames that no peer of ours would send: each is an error of one kind, and takes little memory."""

import random
import tracemalloc

import msgspec
import pytest

from distpool.errors import ProtocolError
from distpool.protocol import codec
from distpool.protocol.cluster import Greeting, LinkHeader
from distpool.protocol.inquiries import NodeTold, ProcessStack, StacksTold
from distpool.protocol.messages import (
    FunctionBlob,
    LargeOutcome,
    RegisterNode,
    RunCalls,
    Slice,
    StopTemplate,
)
from distpool.protocol.standing import NodeFacts, StatusTold
from distpool.protocol.store import (
    HoldObjects,
)
from distpool.protocol.transfers import AskObject, AskPiece
from distpool.protocol.upcalls import PromiseOutcome, PromisesTold, SubmitTask

LARGE = bytes(codec.OUT_OF_BAND_BYTES + 1)
WHOLE = {
    codec.decode_header: [[codec.encode_header(LinkHeader(2**50, 3, 4, 5))]],
    codec.decode_link: [
        codec.encode(Greeting("gpu-1", 2**50, 1, "3.11", "0.1.0")),
        codec.encode(RegisterNode("gpu-1", 64, 2**38)),
        codec.encode(StatusTold([NodeFacts("gpu-1", 64, 3, 2**38, 1.5)] * 3, 1, 2.5)),
        codec.encode(NodeTold(1, StacksTold([ProcessStack(1, "worker", "in serve")] * 3))),
    ],
    codec.decode_lane: [
        codec.encode(RunCalls([Slice(1, 0, 2, False, [b"a", b"b"])], [FunctionBlob(1, b"f", False)])),
        codec.encode(RunCalls([Slice(1, 0, 1, False, LARGE)], [])),
        codec.encode(LargeOutcome(LARGE)),
    ],
    codec.decode_up: [codec.encode(SubmitTask([1, 2], 3, FunctionBlob(3, b"f", False), 0, b"call", [4], b"", "f", 1))],
    codec.decode_down: [codec.encode(PromisesTold(1, [0], [PromiseOutcome(0, b"value", -1, "")]))],
    codec.decode_store: [codec.encode(HoldObjects(1, [1, 2, 2**40], True))],
    codec.decode_transfer: [codec.encode(AskObject(1, 2**50, 3, ["tcp://a:1"])), codec.encode(AskPiece(1, 0, 2**20))],
    codec.decode_template: [codec.encode(StopTemplate(0.5, [1, 2, 3]))],
}
# Lengths and types of MessagePack that promise much, or nothing that is known.
PROMISES = [
    b"\xdd\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x01",
    b"\xc1",
]
FRAMES_OF_EACH = 20_000


def spoilt(frame: bytes, chance: random.Random) -> bytes:
    """With one to four faults."""
    frame = bytearray(frame)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(frame) + 1)
        match chance.randrange(6):
            case 0:
                del frame[at:]
            case 1:
                frame[at:at] = chance.randbytes(chance.randint(1, 8))
            case 2:
                frame[at:at] = chance.choice(PROMISES)
            case 3:
                frame[at : at + chance.randint(1, 8)] = b""
            case 4:
                frame += frame[:at]
            case 5:
                frame[at : at + 1] = bytes([chance.randrange(256)])
    return bytes(frame[:100_000])


@pytest.mark.parametrize("decode", WHOLE, ids=lambda decode: decode.__name__)
def test_a_malformed_frame_is_a_protocol_error_and_nothing_else(decode):
    chance = random.Random(decode.__name__)
    whole = [b"".join(frame) for frame in WHOLE[decode]]
    refused = 0
    tracemalloc.start()
    try:
        for number in range(FRAMES_OF_EACH):
            frame = (
                chance.randbytes(chance.randint(0, 64)) if number % 10 == 0 else spoilt(chance.choice(whole), chance)
            )
            try:
                decode(frame)
            except ProtocolError:
                refused += 1
        most_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refused > FRAMES_OF_EACH * 0.5
    assert most_bytes < 4 * 2**20


@pytest.mark.parametrize("decode", WHOLE, ids=lambda decode: decode.__name__)
def test_a_frame_that_is_deeper_than_any_of_ours_is_refused(decode):
    for opening in (b"\x91", b"\xdc\x00\x01", b"\x81\x01"):
        with pytest.raises(ProtocolError):
            decode(opening * 100_000)


@pytest.mark.parametrize("number", [-1, 2**64, 2**70, 1.5, "1", None])
def test_a_header_has_no_negative_and_no_other_numbers(number):
    for position in range(4):
        fields = [5, 6, 7, 8]
        fields[position] = number
        try:
            frame = msgspec.msgpack.encode(fields)
        except OverflowError:
            return  # nobody can send it either
        with pytest.raises(ProtocolError):
            codec.decode_header(frame)
