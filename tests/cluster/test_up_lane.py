"""The way up of a worker on a node: the agent passes on what it says and is told, in order with its results."""

import pytest

import distpool
from distpool.protocol.upcalls import AwaitPromises, KeepPromises, PromiseOutcome, PromisesTold
from distpool.runtime import session
from tests.cluster import tasks

LARGE = 3_000_000

pytestmark = pytest.mark.usefixtures("two_nodes")


def serve(told: list[int]) -> None:
    """The workers of this process tell `told`, and are given as many bytes as they ask for."""
    lanes = session._current[0].loop.up_lanes

    def answer(lease, message):
        if isinstance(message, KeepPromises):
            told.extend(message.kept)
        elif isinstance(message, AwaitPromises):
            payload = b"x" * message.promises[1]
            lanes.answer(lease, PromisesTold(message.number, message.promises, [PromiseOutcome(0, payload)]))

    lanes.serve = answer


def test_workers_on_nodes_tell_and_ask_their_program():
    told: list[int] = []
    with distpool.Executor(4) as executor:
        assert executor.submit(abs, -1).result() == 1
        serve(told)
        for number in range(50):
            result = executor.submit(tasks.ask_program, number, b"a" * (number % 7)).result()
            assert result == ([number, number % 7], [b"x" * (number % 7)])
            assert number in told, "what a call has told is heard before its result"
        assert executor.submit(tasks.ask_program, 50, bytes(LARGE)).result() == ([50, LARGE], [b"x" * LARGE])


def test_one_that_speaks_nonsense_is_ended_and_its_node_is_not():
    with distpool.Executor(2) as executor:
        assert executor.submit(abs, -1).result() == 1
        serve([])
        with pytest.raises(distpool.WorkerDied, match="cannot be read"):
            executor.submit(tasks.speak_nonsense).result()
        assert executor.submit(tasks.ask_program, 5, b"a").result() == ([5, 1], [b"x"])
