"""The way up of a worker: what it tells and asks its program, from any thread or coroutine, interrupted or not."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

import distpool
from distpool.errors import ForeignProcess, ObjectLost, WorkerDied
from distpool.protocol.codec import decode_up, encode
from distpool.protocol.messages import Message, OutcomeKind
from distpool.protocol.upcalls import (
    AwaitPromises,
    ForgetRequest,
    KeepPromises,
    PromiseOutcome,
    PromisesTold,
    RequestRefused,
)
from distpool.runtime import session
from distpool.runtime.own_way_up import way_up
from distpool.runtime.up_lane import UpLane
from distpool.serialization.remote_errors import encode_failure
from distpool.transport.frames import receive_frame, send_frame
from distpool.transport.pairs import socket_pair
from tests.logic.machines import tries

LIMIT_S = 20.0


def ask_for(*promises: int) -> Callable[[int], Message]:
    return lambda number: AwaitPromises(number, list(promises), len(promises))


class Above:
    """The program's end, as plain as can be."""

    def __init__(self) -> None:
        self.sock, end = socket_pair()
        self.sock.settimeout(LIMIT_S)
        self.lane = UpLane(end)

    def hear(self) -> Message:
        return decode_up(receive_frame(self.sock))

    def say(self, message: Message) -> None:
        send_frame(self.sock, encode(message))

    def close(self) -> None:
        self.sock.close()
        self.lane.close_after_fork()


@pytest.fixture
def above() -> Iterator[Above]:
    made = Above()
    yield made
    made.close()


@contextmanager
def running(*functions: Callable[[], object]) -> Iterator[list[object]]:
    """Each on a thread of its own; at the end they must have ended. What they gave, in the order of their ends."""
    given: list[object] = []
    threads = [
        threading.Thread(target=lambda function=function: given.append(function()), daemon=True)
        for function in functions
    ]
    for thread in threads:
        thread.start()
    yield given
    for thread in threads:
        thread.join(LIMIT_S)
        assert not thread.is_alive()


def test_what_is_told_arrives_in_order(above):
    for number in range(5):
        above.lane.tell(KeepPromises([number], []))
    assert [above.hear() for _ in range(5)] == [KeepPromises([number], []) for number in range(5)]


def test_answers_find_whoever_asked_in_whatever_order_they_come(above):
    count = 8
    ask = [lambda at=at: (at, above.lane.ask(ask_for(at)).ready) for at in range(count)]
    with running(*ask) as given:
        asked = [above.hear() for _ in range(count)]
        for request in reversed(asked):
            above.say(PromisesTold(request.number, request.promises))
    assert sorted(given) == [(at, [at]) for at in range(count)]


def test_a_large_answer_arrives_whole(above):
    payload = bytes(range(256)) * 4096
    with running(lambda: above.lane.ask(ask_for(1)).outcomes) as given:
        above.say(PromisesTold(above.hear().number, [0], [PromiseOutcome(0, payload)]))
    assert given == [[PromiseOutcome(0, payload)]]


def test_the_next_one_reads_when_the_one_that_read_leaves(above):
    with running(lambda: above.lane.ask(ask_for(1)), lambda: above.lane.ask(ask_for(2))) as given:
        first, second = above.hear(), above.hear()
        above.say(PromisesTold(first.number, [0]))
        while not given:
            threading.Event().wait(0.001)
        above.say(PromisesTold(second.number, [0]))
    assert [told.number for told in given] == [first.number, second.number]


def test_who_has_waited_long_enough_goes_on_and_a_late_answer_is_nobodys(above):
    assert above.lane.ask(ask_for(1), timeout_s=0.01) is None
    asked = above.hear()
    assert above.hear() == ForgetRequest(asked.number)
    above.say(PromisesTold(asked.number, [0]))
    with running(lambda: above.lane.ask(ask_for(2)).number) as given:
        second = above.hear()
        above.say(PromisesTold(second.number, [0]))
    assert given == [second.number]


def test_what_the_program_refuses_is_raised(above):
    def ask() -> object:
        with pytest.raises(KeyError, match="seven"):
            above.lane.ask(ask_for(7))

    with running(ask):
        above.say(RequestRefused(above.hear().number, encode_failure(KeyError("seven"))))


def test_coroutines_and_threads_wait_side_by_side(above):
    async def ask_many() -> list[int]:
        told = await asyncio.gather(*(above.lane.ask_async(ask_for(at)) for at in range(5)))
        return [each.ready[0] for each in told]

    with running(lambda: asyncio.run(ask_many()), lambda: above.lane.ask(ask_for(5)).ready) as given:
        for request in reversed([above.hear() for _ in range(6)]):
            above.say(PromisesTold(request.number, request.promises))
    assert sorted(map(str, given)) == ["[0, 1, 2, 3, 4]", "[5]"]


def test_a_coroutine_that_is_cancelled_forgets_its_request(above):
    async def ask() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(above.lane.ask_async(ask_for(1)), 0.01)

    asyncio.run(ask())
    assert above.hear() == AwaitPromises(1, [1], 1)
    assert above.hear() == ForgetRequest(1)


@pytest.mark.parametrize("raises", [KeyboardInterrupt, OSError])
def test_a_signal_in_the_middle_leaves_the_lane_usable(above, raises):
    """Ctrl-C, which is deferred, and an alarm's handler, which raises at any place; others wait meanwhile."""
    number = signal.SIGINT if raises is KeyboardInterrupt else signal.SIGUSR1

    def interrupt(signum, frame):
        raise raises

    before = signal.signal(number, interrupt)
    try:
        with running(lambda: above.lane.ask(ask_for(0))) as given:
            other = above.hear()

            def disturb() -> None:
                asked = above.hear()
                signal.pthread_kill(threading.main_thread().ident, number)
                assert above.hear() == ForgetRequest(asked.number)

            for _ in range(20):
                with running(disturb), pytest.raises(raises):
                    above.lane.ask(ask_for(1))
            above.say(PromisesTold(other.number, [0]))
        assert given == [PromisesTold(other.number, [0])]
    finally:
        signal.signal(number, before)


# In the workers of a program ------------------------------------------------------------------------------------------


@contextmanager
def serving(serve: Callable[[object, int, Message], None]) -> Iterator[distpool.Executor]:
    """A pool of two whose workers' ways up end at `serve(lanes, lease, message)`."""
    with distpool.Executor(2) as executor:
        executor.submit(abs, 1).result()
        lanes = session._current[0].loop.up_lanes
        lanes.serve = lambda lease, message: serve(lanes, lease, message)
        yield executor


def answer_at_once(lanes, lease, message) -> None:
    if isinstance(message, AwaitPromises):
        lanes.answer(lease, PromisesTold(message.number, [sum(message.promises)]))


def ask(*promises: int) -> list[int]:
    return way_up().ask(ask_for(*promises)).ready


def test_workers_ask_and_are_answered():
    with serving(answer_at_once) as executor:
        assert list(executor.map(ask, range(200), range(200))) == [[2 * number] for number in range(200)]


def tell_and_return(number: int) -> int:
    way_up().tell(KeepPromises([number], []))
    return number


def test_what_a_call_has_told_is_heard_before_its_result():
    told: list[int] = []

    def serve(lanes, lease, message) -> None:
        if isinstance(message, KeepPromises):
            told.extend(message.kept)

    with serving(serve) as executor:
        for number in range(300):
            assert executor.submit(tell_and_return, number).result() == number
            assert number in told


def tell_and_die(number: int) -> None:
    way_up().tell(KeepPromises([number], []))
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_last_words_of_a_worker_are_heard_before_its_death():
    told: list[int] = []

    def serve(lanes, lease, message) -> None:
        if isinstance(message, KeepPromises):
            told.extend(message.kept)

    with serving(serve) as executor:
        with pytest.raises(WorkerDied):
            executor.submit(tell_and_die, 7).result()
        assert told == [7]


def test_a_promise_that_nobody_has_made_is_an_error_at_once():
    with distpool.Executor(1) as executor, pytest.raises(ObjectLost, match="nothing is known"):
        executor.submit(ask, 1).result()


def ask_in_a_child() -> str:
    way_up()
    reader, writer = os.pipe()
    if not os.fork():
        try:
            ask(1)
        except ForeignProcess as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.wait()
    with os.fdopen(reader) as told:
        return told.read()


def test_a_child_of_a_worker_is_told_that_it_cannot_use_it():
    with serving(answer_at_once) as executor:
        assert "was forked from a worker" in executor.submit(ask_in_a_child).result()
        assert executor.submit(ask, 4).result() == [4]


def send_raw(frame: bytes) -> None:
    lane = way_up()
    lane._sock.send(frame)
    lane.ask(ask_for(1))


@pytest.mark.parametrize("frame", [b"\xc1", b"\0\0\0\0", encode(PromisesTold(1, []))[0], b"\x93\x85"])
def test_a_malformed_frame_ends_its_worker_with_a_clear_loss_and_nothing_else(frame):
    with serving(answer_at_once) as executor:
        with pytest.raises(WorkerDied, match="what it said to its program cannot be read"):
            executor.submit(send_raw, frame).result()
        assert list(executor.map(ask, range(10))) == [[number] for number in range(10)]


def swallow(lanes, lease, message) -> None:
    """Ask for nothing more, but answer far more than a socket holds."""
    for _ in range(12_000 if isinstance(message, AwaitPromises) else 0):
        lanes.answer(lease, PromisesTold(message.number, [], [PromiseOutcome(OutcomeKind.VALUE, b"x" * 1000)]))


def ask_and_sleep() -> None:
    lane = way_up()
    lane.tell(AwaitPromises(1, [1], 1))
    signal.pause()


def test_a_worker_that_reads_no_answers_is_ended_and_not_buffered_for_ever():
    with serving(swallow) as executor, pytest.raises(WorkerDied, match="has not read"):
        executor.submit(ask_and_sleep).result()


@tries(100)
@given(st.binary(max_size=60))
def test_what_is_no_message_is_a_protocol_error(frame):
    try:
        message = decode_up(frame)
    except distpool.errors.ProtocolError:
        return
    assert decode_up(b"".join(encode(message))) == message


def test_no_descriptor_is_made_for_a_pool_that_asks_nothing():
    with distpool.Executor(1) as executor:
        executor.submit(abs, 1).result()
        assert not session._current[0].loop.up_lanes.lanes
