"""Messages to frames and back: every message, large payloads, and what no peer of ours would send."""

import types
import typing

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from distpool.errors import ProtocolError
from distpool.protocol import codec, link_messages, messages, upcalls
from distpool.protocol.codec import OUT_OF_BAND_BYTES, decode_lane, decode_link, decode_template, encode
from distpool.protocol.messages import (
    ExitWorker,
    FunctionBlob,
    LargeOutcome,
    Message,
    RegisterNode,
    RunCalls,
    Slice,
    StopTemplate,
    WorkerReady,
)

DECODERS = {
    decode_lane: typing.get_args(messages.LANE_MESSAGES),
    decode_template: typing.get_args(messages.TEMPLATE_MESSAGES),
    decode_link: typing.get_args(link_messages.LINK_MESSAGES),
    codec.decode_up: typing.get_args(upcalls.UP_MESSAGES),
    codec.decode_down: typing.get_args(upcalls.DOWN_MESSAGES),
}
TRAVELLING = [(decode, kind) for decode, kinds in DECODERS.items() for kind in kinds]
LOCAL = [kind for kind in Message.__subclasses__() if kind not in {kind for _, kind in TRAVELLING}]

INTEGERS = st.one_of(st.integers(0, 200), st.integers(-(2**63), 2**64 - 1))
LARGE = st.integers(1, 2000).map(lambda more: bytes([more % 256]) * (OUT_OF_BAND_BYTES + more))
PAYLOADS = st.one_of(st.binary(max_size=100), LARGE)
SCALARS = {int: INTEGERS, bytes: PAYLOADS, str: st.text(), bool: st.booleans(), float: st.floats(allow_nan=False)}


def values_of(kind: typing.Any) -> st.SearchStrategy:
    """Examples of a field's type. A number in place of a payload is the codec's own mark, so nobody sends it."""
    kind = getattr(kind, "__supertype__", kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return st.one_of(*(values_of(argument) for argument in arguments if argument is not int))
    if origin is list:
        return st.lists(values_of(arguments[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(*map(values_of, arguments), max_size=3)
    if origin is tuple and arguments[1:] == (...,):
        return st.lists(values_of(arguments[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values_of, arguments))
    if kind is type(None):
        return st.none()
    if kind in SCALARS:
        return SCALARS[kind]
    if kind is types.NoneType:
        return st.none()
    return records_of(kind)


def records_of(kind: type[msgspec.Struct]) -> st.SearchStrategy:
    hints = typing.get_type_hints(kind)
    return st.builds(kind, *(values_of(hints[name]) for name in kind.__struct_fields__))


def frame_of(message: Message) -> bytes:
    return b"".join(encode(message))


def plain(value: object) -> object:
    """With payloads as bytes, whether they lie in the message or in the frame behind it."""
    if isinstance(value, memoryview):
        return bytes(value)
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, msgspec.Struct):
        return [type(value), *(plain(getattr(value, name)) for name in value.__struct_fields__)]
    return value


def with_prefix(header: bytes, tail: bytes) -> bytes:
    return b"\0" + len(header).to_bytes(4, "little") + header + tail


# ---- round trips


@pytest.mark.parametrize(("decode", "kind"), TRAVELLING, ids=lambda value: getattr(value, "__name__", ""))
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_every_message_round_trips_by_its_decoder(decode, kind, data):
    message = data.draw(records_of(kind))
    before = plain(message)
    arrived = decode(frame_of(message))
    assert type(arrived) is kind
    assert plain(arrived) == before
    assert plain(message) == before, "encoding must not change the message"


def test_every_message_has_a_number_of_its_own():
    tags = [kind.__struct_config__.tag for kind in Message.__subclasses__()]
    assert len(tags) == len(set(tags))
    assert None not in tags


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("kind", Message.__subclasses__(), ids=lambda kind: kind.__name__)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_a_decoder_refuses_the_messages_of_other_links(decode, kind, data):
    if kind in DECODERS[decode]:
        return
    frame = codec._encode(data.draw(records_of(kind)))
    with pytest.raises(ProtocolError):
        decode(frame)


def test_messages_between_local_hands_have_no_decoder():
    assert {kind.__name__ for kind in LOCAL} >= {"CallsDone", "StartWorker", "WorkerExited", "TakeBack"}


# ---- large payloads


def test_a_large_outcome_is_copied_neither_out_nor_in():
    payload = bytes(1_000_000)
    buffers = encode(LargeOutcome(payload))
    assert buffers[-1] is payload
    assert sum(map(len, buffers[:-1])) < 100
    frame = b"".join(buffers)
    arrived = decode_lane(frame)
    assert isinstance(arrived.payload, memoryview)
    assert arrived.payload.obj is frame
    assert arrived.payload == payload


def test_large_arguments_are_copied_neither_out_nor_in():
    large = [bytes([number]) * (OUT_OF_BAND_BYTES + number) for number in (1, 2, 3)]
    slices = [Slice(7, 0, 1, False, args) for args in (large[0], b"small", large[1], [b"a", b"b"], large[2])]
    message = RunCalls(slices, [FunctionBlob(7, b"function", False)])
    buffers = encode(message)
    assert [id(buffer) for buffer in buffers[2:]] == [id(args) for args in large]
    assert [piece.args for piece in message.slices] == [large[0], b"small", large[1], [b"a", b"b"], large[2]]
    frame = b"".join(buffers)
    arrived = decode_lane(frame)
    assert [piece.args for piece in arrived.slices] == [piece.args for piece in slices]
    assert all(arrived.slices[position].args.obj is frame for position in (0, 2, 4))
    assert arrived.functions == message.functions


@pytest.mark.parametrize("size", [OUT_OF_BAND_BYTES, OUT_OF_BAND_BYTES + 1])
def test_the_limit_decides_what_lies_behind_the_message(size):
    for message in (LargeOutcome(bytes(size)), RunCalls([Slice(1, 0, 1, False, bytes(size))], [])):
        assert len(encode(message)) == (1 if size == OUT_OF_BAND_BYTES else 3)
        assert plain(decode_lane(frame_of(message))) == plain(message)


def test_a_frame_may_be_any_buffer():
    frame = frame_of(LargeOutcome(bytes(OUT_OF_BAND_BYTES + 1)))
    for buffer in (frame, bytearray(frame), memoryview(frame)):
        assert len(decode_lane(buffer).payload) == OUT_OF_BAND_BYTES + 1


# ---- what is no message

HOSTILE = [
    b"",
    b"\0",
    b"\0\0\0\0\0",
    b"\0\xff\xff\xff\xff",
    b"\x91\xff",
    b"\x94\x14\xa1\xff\x01\x01",  # a text that is not UTF-8
    b"\x92\x02" + b"\x91" * 100_000,  # nested deeper than the stack
    b"\x93\x01\xdd\xff\xff\xff\xff",  # a list of four billion
    codec._encode(LargeOutcome(7)),  # a size without its payload
    codec._encode(RunCalls([Slice(1, 0, 1, False, 7)], [])),
    with_prefix(codec._encode(LargeOutcome(7)), b"short"),
    with_prefix(codec._encode(LargeOutcome(7)), b"much too long"),
    with_prefix(codec._encode(LargeOutcome(-3)), b"negative"),
    with_prefix(codec._encode(RunCalls([Slice(1, 0, 1, False, 7)], [])), b"short"),
    with_prefix(codec._encode(RunCalls([Slice(1, 0, 1, False, 7)], [])), b"much too long"),
    with_prefix(codec._encode(RunCalls([Slice(1, 0, 1, False, -7)], [])), b"negative"),
    with_prefix(codec._encode(LargeOutcome(b"inside")), b"and outside"),
    with_prefix(codec._encode(ExitWorker()), b"carries nothing"),
    codec._encode(ExitWorker()) + b"more",
]


@pytest.mark.parametrize("decode", DECODERS, ids=lambda decode: decode.__name__)
@pytest.mark.parametrize("frame", HOSTILE, ids=lambda frame: repr(frame[:12]))
def test_a_malformed_frame_is_a_protocol_error(decode, frame):
    with pytest.raises(ProtocolError):
        decode(frame)


@pytest.mark.parametrize("decode", DECODERS, ids=lambda decode: decode.__name__)
@settings(max_examples=200, deadline=None)
@given(frame=st.binary(max_size=60))
@example(frame=b"\0" * 60)
def test_garbage_is_a_message_or_a_protocol_error(decode, frame):
    try:
        arrived = decode(frame)
    except ProtocolError:
        return
    assert type(arrived) in DECODERS[decode]


@pytest.mark.parametrize(("decode", "kind"), TRAVELLING, ids=lambda value: getattr(value, "__name__", ""))
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_damaged_frame_is_a_message_or_a_protocol_error(decode, kind, data):
    frame = bytearray(frame_of(data.draw(records_of(kind))))
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, min(len(frame), 80) - 1))] = data.draw(st.integers(0, 255))
    try:
        arrived = decode(bytes(frame))
    except ProtocolError:
        return
    assert type(arrived) in DECODERS[decode]


@pytest.mark.parametrize(("decode", "kind"), TRAVELLING, ids=lambda value: getattr(value, "__name__", ""))
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_truncated_frame_is_a_protocol_error(decode, kind, data):
    frame = frame_of(data.draw(records_of(kind)))
    length = data.draw(st.integers(0, len(frame) - 1))
    with pytest.raises(ProtocolError):
        decode(frame[:length])


@pytest.mark.parametrize(
    ("decode", "message"),
    [
        (decode_lane, WorkerReady()),
        (decode_lane, RunCalls([Slice(1, 0, 2, True, b"items")], [FunctionBlob(1, b"blob", True)])),
        (decode_template, StopTemplate(0.5, [3])),
        (decode_link, RegisterNode("node", 4)),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_every_truncation_of_a_small_frame_is_a_protocol_error(decode, message):
    frame = frame_of(message)
    for length in range(len(frame)):
        with pytest.raises(ProtocolError):
            decode(frame[:length])
