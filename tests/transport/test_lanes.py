"""The caller's end of a lane, with a worker's end that the test plays itself."""

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from distpool.errors import ProtocolError
from distpool.protocol.codec import decode_lane, encode
from distpool.protocol.messages import (
    CallsDone,
    CallsFinished,
    ExitWorker,
    FunctionBlob,
    LargeOutcome,
    Message,
    OutcomeKind,
    RoomInRing,
    RunCalls,
    Slice,
    StreamItems,
    WorkerReady,
    WorkerUnusable,
)
from distpool.transport.frames import receive_frame, send_frame
from distpool.transport.lanes import Lane, make_tokens, take_token
from distpool.transport.pairs import socket_pair
from distpool.transport.ring import Ring, ring_size

RING_BYTES = 16 * 1024


class PlayedWorker:
    """The other end: what a worker would do, one step at a time."""

    def __init__(self, sock: socket.socket, tokens: int, ring: Ring) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.tokens = tokens
        self.ring = ring

    def begin(self, most: int = 1) -> int:
        """Claim calls: how many it got."""
        begun = 0
        while begun < most and take_token(self.tokens):
            begun += 1
        return begun

    def received(self) -> list[Message]:
        messages = []
        while True:
            try:
                frame = receive_frame(self.sock)
            except BlockingIOError:
                return messages
            if not frame:
                return messages
            messages.append(decode_lane(frame))

    def say(self, message: Message) -> None:
        send_frame(self.sock, encode(message))

    def write(self, kind: int, payload: bytes, busy_ns: int = 0) -> None:
        assert self.ring.write(kind, payload, busy_ns)


@pytest.fixture
def pair() -> Iterator[tuple[Lane, PlayedWorker]]:
    memory = os.memfd_create("ring")
    os.ftruncate(memory, ring_size(RING_BYTES))
    ours, theirs = socket_pair()
    tokens = make_tokens()
    lane = Lane(ours, tokens, Ring(memory, 0, RING_BYTES), bytes)
    worker = PlayedWorker(theirs, os.dup(tokens), Ring(memory, 0, RING_BYTES))
    os.close(memory)
    yield lane, worker
    lane.close()
    theirs.close()
    os.close(worker.tokens)
    worker.ring.close()


def calls(count: int, size: int = 10, *functions: FunctionBlob) -> RunCalls:
    return RunCalls([Slice(1, 1, count, True, bytes(size))], list(functions))


def fill(lane: Lane, count: int = 3) -> int:
    """Send until the socket is full: the calls of all frames, the one that has to wait included."""
    sent = 0
    while not lane.has_unsent():
        lane.send(calls(count, 1000))
        sent += count
        assert sent < 1_000_000
    return sent


# ---- tokens


def test_a_token_is_given_once_and_to_whoever_asks(pair):
    lane, worker = pair
    os.eventfd_write(lane.tokens, 3)
    assert [take_token(lane.tokens), take_token(worker.tokens), take_token(worker.tokens)] == [True] * 3
    assert not take_token(lane.tokens)
    assert not take_token(worker.tokens)


def test_tokens_are_not_inherited(pair):
    assert not os.get_inheritable(pair[0].tokens)


def test_each_call_sent_brings_one_token(pair):
    lane, worker = pair
    lane.send(
        RunCalls([Slice(1, 0, 1, False, b"a"), Slice(1, 1, 3, True, b"b"), Slice(2, 1, 2, False, [b"c", b"d"])], [])
    )
    lane.send(ExitWorker())
    lane.send(calls(4))
    assert [type(message) for message in worker.received()] == [RunCalls, ExitWorker, RunCalls]
    assert worker.begin(100) == 10


def test_other_messages_bring_no_token(pair):
    lane, worker = pair
    lane.send(ExitWorker())
    lane.send(RoomInRing())
    assert worker.begin() == 0


@pytest.mark.parametrize("begun", [0, 1, 4, 5])
def test_take_back_gives_what_was_not_begun_once(pair, begun):
    lane, worker = pair
    lane.send(calls(5))
    assert worker.begin(begun) == begun
    assert lane.take_back() == 5 - begun
    assert lane.take_back() == 0
    assert worker.begin() == 0


# ---- a full socket


def test_a_full_socket_keeps_the_frame_and_its_tokens_back(pair):
    lane, worker = pair
    sent = fill(lane, 3)
    assert lane.flush() is False
    assert worker.begin(10**6) == sent - 3, "a call that was not sent has no token"


def test_flush_sends_what_was_kept_in_order_and_with_its_tokens(pair):
    lane, worker = pair
    sent = fill(lane, 3)
    lane.send(calls(1, 11))
    lane.send(ExitWorker())
    received = worker.received()
    assert lane.has_unsent()
    assert lane.flush() is True
    assert not lane.has_unsent()
    received += worker.received()
    assert [type(message) for message in received[-2:]] == [RunCalls, ExitWorker]
    assert sum(message.slices[0].count for message in received[:-1]) == sent + 1
    assert worker.begin(10**6) == sent + 1


def test_flush_may_be_repeated_on_a_full_socket_without_changing_tokens(pair):
    lane, worker = pair
    sent = fill(lane, 3)
    lane.send(calls(2))
    for _ in range(5):
        assert not lane.flush()
    assert lane.take_back() == sent + 2
    assert worker.begin() == 0


def test_take_back_on_a_full_socket_returns_sent_and_unsent_calls(pair):
    lane, worker = pair
    sent = fill(lane, 3)
    assert worker.begin(7) == 7
    assert lane.take_back() == sent - 7
    assert not lane.has_unsent()
    assert worker.begin() == 0
    worker.received()
    assert lane.flush()
    assert worker.received() == [], "what was taken back is not sent later"
    assert lane.take_back() == 0


def test_take_back_keeps_the_other_messages_of_a_full_socket(pair):
    lane, worker = pair
    fill(lane)
    lane.send(ExitWorker())
    lane.take_back()
    assert lane.has_unsent()
    worker.received()
    assert lane.flush()
    assert worker.received() == [ExitWorker()]


def test_take_back_keeps_the_functions_of_calls_that_were_never_sent(pair):
    """The caller has noted that this worker got them, and sends them only once."""
    lane, worker = pair
    fill(lane)
    function = FunctionBlob(2, b"function", False)
    lane.send(calls(1, 10, function))
    lane.take_back()
    received = worker.received()
    lane.flush()
    received += worker.received()
    assert [blob for message in received for blob in message.functions] == [function]


def test_a_worker_that_began_nothing_of_a_full_socket_dies(pair):
    lane, worker = pair
    sent = fill(lane, 3)
    worker.sock.close()
    assert lane.take_back() == sent


# ---- a worker that has ended


def test_calls_sent_to_a_worker_that_has_ended_count_as_not_begun(pair):
    lane, worker = pair
    lane.send(calls(2))
    assert worker.begin() == 1
    worker.sock.close()
    lane.send(calls(5))
    lane.send(ExitWorker())
    assert not lane.has_unsent()
    assert lane.take_back() == 6


def test_the_end_is_seen_after_all_that_was_said(pair):
    lane, worker = pair
    worker.say(WorkerReady())
    worker.write(OutcomeKind.VALUE, b"last")
    worker.sock.close()
    assert lane.receive() == [WorkerReady(), CallsDone([(OutcomeKind.VALUE, b"last")], 0.0, False)]
    assert lane.is_at_end
    assert lane.receive() == []


def test_a_worker_that_left_messages_unread_is_at_its_end_too(pair):
    lane, worker = pair
    lane.send(calls(1))
    worker.sock.close()  # a reset, as what was sent has not been read
    assert lane.receive() == []
    assert lane.is_at_end
    assert lane.take_back() == 1


# ---- results


def test_nothing_said_is_nothing_received(pair):
    lane, _ = pair
    assert lane.receive() == []
    assert lane.peek() is None
    assert not lane.is_at_end


def test_results_come_as_one_message_in_order_with_the_time_they_took(pair):
    lane, worker = pair
    worker.write(OutcomeKind.VALUE, b"one", 2_000_000_000)
    worker.write(OutcomeKind.ERROR, b"two", 2_500_000_000)
    worker.say(CallsFinished(False))
    worker.say(CallsFinished(False))
    outcomes = [(OutcomeKind.VALUE, b"one"), (OutcomeKind.ERROR, b"two")]
    assert lane.receive() == [CallsDone(outcomes, 2.5, False)]
    worker.write(OutcomeKind.VALUE, b"three", 2_600_000_000)
    worker.say(CallsFinished(False))
    (done,) = lane.receive()
    assert done.outcomes == [(OutcomeKind.VALUE, b"three")]
    assert done.busy_s == pytest.approx(0.1)


def test_peek_finds_results_that_nobody_told_of(pair):
    lane, worker = pair
    worker.write(OutcomeKind.VALUE, b"untold", 1000)
    assert lane.peek() == CallsDone([(OutcomeKind.VALUE, b"untold")], 1e-6, False)
    worker.say(CallsFinished(False))
    assert lane.receive() == [], "what was found by a peek is not told again"


def test_a_worker_that_stopped_says_so_with_and_without_results(pair):
    lane, worker = pair
    worker.say(CallsFinished(True))
    assert lane.receive() == [CallsDone([], 0.0, True)]
    worker.write(OutcomeKind.VALUE, b"x")
    worker.say(CallsFinished(False))
    worker.say(CallsFinished(True))
    worker.say(CallsFinished(False))
    assert lane.receive() == [CallsDone([(OutcomeKind.VALUE, b"x")], 0.0, True)]


def test_other_messages_come_before_the_results(pair):
    lane, worker = pair
    worker.say(WorkerReady())
    worker.write(OutcomeKind.VALUE, b"x")
    worker.say(CallsFinished(False))
    worker.say(WorkerUnusable(b"why"))
    assert lane.receive() == [WorkerReady(), WorkerUnusable(b"why"), CallsDone([(0, b"x")], 0.0, False)]


def test_items_and_what_else_was_sent_before_results_come_before_them_also_in_a_peek(pair):
    lane, worker = pair
    items = [StreamItems(7, number, [(0, b"item")]) for number in range(3)]
    for item in items[:2]:
        worker.say(item)
        worker.ring.note_items()
        worker.write(0, b"result")
    assert lane.has_unread_frames()
    done = lane.peek()
    assert done.outcomes == [(0, b"result")] * 2
    assert lane.take_read_ahead() == items[:2]
    assert not lane.has_unread_frames()
    worker.say(items[2])
    assert lane.receive() == [items[2]]


def test_a_stop_that_is_read_on_the_way_to_an_item_is_told(pair):
    lane, worker = pair
    worker.write(0, b"result")
    worker.say(CallsFinished(True))
    worker.say(StreamItems(7, 0, []))
    worker.ring.note_items()
    assert lane.peek().stopped
    worker.write(0, b"result")
    assert not lane.peek().stopped


@pytest.mark.parametrize("size", [20_000, 40_000, 3_000_000])
def test_large_outcomes_take_their_place_among_the_others(pair, size):
    lane, worker = pair
    first, second = b"1" * size, b"2" * size
    worker.write(OutcomeKind.VALUE, b"before")
    worker.say(LargeOutcome(first))
    worker.write(OutcomeKind.FRAME, bytes([OutcomeKind.VALUE]))
    worker.write(OutcomeKind.VALUE, b"between")
    worker.say(LargeOutcome(second))
    worker.write(OutcomeKind.FRAME, bytes([OutcomeKind.ERROR]))
    worker.say(CallsFinished(False))
    (done,) = lane.receive()
    assert [(kind, bytes(payload)) for kind, payload in done.outcomes] == [
        (OutcomeKind.VALUE, b"before"),
        (OutcomeKind.VALUE, first),
        (OutcomeKind.VALUE, b"between"),
        (OutcomeKind.ERROR, second),
    ]


def test_a_peek_fetches_the_large_outcome_that_belongs_to_its_record(pair):
    lane, worker = pair
    worker.write(OutcomeKind.VALUE, b"small")
    worker.say(CallsFinished(False))
    worker.say(LargeOutcome(b"x" * 100_000))
    worker.write(OutcomeKind.FRAME, bytes([OutcomeKind.VALUE]))
    assert [len(payload) for _, payload in lane.peek().outcomes] == [5, 100_000]
    assert lane.receive() == []


def test_a_large_outcome_whose_record_is_not_there_yet_waits(pair):
    lane, worker = pair
    worker.say(LargeOutcome(b"x" * 20_000))
    assert lane.receive() == []
    worker.write(OutcomeKind.FRAME, bytes([OutcomeKind.VALUE]))
    assert lane.receive() == [CallsDone([(OutcomeKind.VALUE, b"x" * 20_000)], 0.0, False)]


def test_a_record_that_is_followed_by_the_wrong_message_is_an_error(pair):
    lane, worker = pair
    worker.write(OutcomeKind.FRAME, bytes([OutcomeKind.VALUE]))
    worker.say(WorkerReady())
    with pytest.raises(ProtocolError, match="WorkerReady"):
        lane.peek()


# ---- a full ring


def test_a_worker_that_waits_for_room_is_told_once_when_there_is_some(pair):
    lane, worker = pair
    count = 0
    while worker.ring.write(OutcomeKind.VALUE, bytes(1000), 0):
        count += 1
    worker.ring.wait_for_room()
    worker.say(CallsFinished(False))
    assert worker.received() == []
    (done,) = lane.receive()
    assert len(done.outcomes) == count
    assert worker.received() == [RoomInRing()]
    worker.write(OutcomeKind.VALUE, b"more")
    assert len(lane.peek().outcomes) == 1
    assert worker.received() == []


def test_a_worker_that_waits_is_told_even_when_a_peek_has_emptied_the_ring(pair):
    lane, worker = pair
    worker.write(OutcomeKind.VALUE, b"x")
    lane.peek()
    worker.ring.wait_for_room()
    assert lane.peek() is None
    assert worker.received() == [RoomInRing()]


# ---- life


def test_a_closed_lane_lets_go_of_everything(pair: Any):
    memory = os.memfd_create("ring")
    os.ftruncate(memory, ring_size(RING_BYTES))
    ours, theirs = socket_pair()
    lane = Lane(ours, make_tokens(), Ring(memory, 0, RING_BYTES), bytes)
    os.close(memory)
    lane.close()
    assert theirs.recv(10) == b""
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.eventfd_read(lane.tokens)
    theirs.close()
