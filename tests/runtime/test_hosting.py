"""The head in a process of its own, joined by ZeroMQ: this process's client and node work as with their own."""

from __future__ import annotations

import multiprocessing
import tempfile
import time

import pytest

from distpool.config import SETTINGS
from distpool.ids import GroupId
from distpool.logic.calls import Bundle
from distpool.logic.group_plan import GroupPlan, GroupState
from distpool.protocol.messages import CallMode, FunctionBlob, OutcomeKind
from distpool.protocol.resources import Offer
from distpool.runtime.elsewhere import Elsewhere
from distpool.runtime.hosting import HeadHost, RemoteHead
from distpool.runtime.launch_plan import LaunchPlan
from distpool.runtime.loop import Loop
from distpool.serialization.pickling import standard_dumps
from distpool.transport.sockets import Listener

LIMIT_S = 20.0


def host_head(endpoint, stop):
    listener = Listener(endpoint)
    try:
        host = HeadHost(listener, SETTINGS, time.monotonic())
        while not stop.is_set():
            host.turn(time.monotonic())
            time.sleep(0.002)
    finally:
        listener.close()


class Collector:
    def __init__(self):
        self.outcomes = {}

    def begin(self):
        return True

    def put_back(self):
        pass

    def deliver(self, first, outcomes):
        self.outcomes.update(enumerate(outcomes, first))


@pytest.fixture
def head():
    context = multiprocessing.get_context("fork")
    stop = context.Event()
    with tempfile.TemporaryDirectory() as folder:  # a Unix socket's path may have 107 bytes
        endpoint = f"ipc://{folder}/head"
        process = context.Process(target=host_head, args=(endpoint, stop))
        process.start()
        yield endpoint
        stop.set()
        process.join(LIMIT_S)
    assert process.exitcode == 0


def turn_until(loop, is_done):
    deadline = time.monotonic() + LIMIT_S
    while not is_done():
        assert time.monotonic() < deadline, "the head did not answer in time"
        loop.turn(0.05)
        loop.run_completions()


def test_calls_run_on_leases_that_a_head_in_another_process_has_placed(head):
    remote = RemoteHead(head, "driver", SETTINGS, time.monotonic())
    loop = Loop(SETTINGS, Offer(2), lambda is_done, timeout_s: None, Elsewhere(head=remote))
    group_id = GroupId(1)
    launch = LaunchPlan("fork", 2, "Worker", True, None, ())
    loop.launcher.open(group_id, launch)
    loop.watch_template(group_id)
    group = loop.client.open(group_id, GroupPlan(2))
    loop.client.functions[1] = FunctionBlob(1, standard_dumps(abs), False)
    sink = Collector()
    loop.client.submit(group, [Bundle(1, CallMode.ITEM, list(range(-50, 0)), sink)])

    turn_until(loop, lambda: len(sink.outcomes) == 50)
    loop.client.close(group)
    turn_until(loop, lambda: group.state is GroupState.GONE)
    loop.close()
    remote.close()

    assert {kind for kind, _ in sink.outcomes.values()} == {OutcomeKind.VALUE}
