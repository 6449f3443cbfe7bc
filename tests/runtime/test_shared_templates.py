"""Groups that ask for the same have one template, which ends with the last of them."""

import os
import pickle
import signal
import time

import psutil
import pytest

from distpool.config import SETTINGS
from distpool.ids import GroupId
from distpool.logic.calls import Bundle
from distpool.logic.group_plan import GroupPlan, GroupState
from distpool.protocol.messages import CallMode, FunctionBlob, OutcomeKind
from distpool.protocol.resources import Offer
from distpool.runtime.launch_plan import LaunchPlan
from distpool.runtime.loop import Loop
from distpool.serialization.pickling import standard_dumps

LIMIT_S = 20.0


class Collector:
    def __init__(self):
        self.outcomes = []

    def begin(self):
        return True

    def put_back(self):
        pass

    def deliver(self, first, outcomes):
        self.outcomes += outcomes


class Sharing:
    """A loop, and groups of one worker each that share a template."""

    def __init__(self):
        self.loop = Loop(SETTINGS, Offer(2), lambda is_done, timeout_s: None)
        self.loop.client.functions[1] = FunctionBlob(1, standard_dumps(os.getppid), False)
        self.groups = []

    def open(self, size=1, shares="some"):
        group_id = GroupId(len(self.groups) + 1)
        self.loop.launcher.open(group_id, LaunchPlan("fork", size, "Worker", True, None, (), shares=shares))
        self.loop.watch_template(group_id)
        group = self.loop.client.open(group_id, GroupPlan(size))
        self.groups.append(group)
        return group

    def template_of(self, group):
        """The parent of the group's worker."""
        sink = Collector()
        self.loop.client.submit(group, [Bundle(1, CallMode.CALL, [standard_dumps(((), {}))], sink)])
        self.turn_until(lambda: sink.outcomes)
        kind, payload = sink.outcomes[0]
        assert kind == OutcomeKind.VALUE
        return pickle.loads(payload)

    def worker_of(self, group):
        self.turn_until(lambda: all(h.known_pid for h in self.handles_of(group)) and self.handles_of(group))
        return psutil.Process(self.handles_of(group)[0].known_pid)

    def handles_of(self, group):
        return list(self.loop.launcher.crews[group.id].handles.values())

    def end(self, group):
        self.loop.client.terminate(group, OutcomeKind.TERMINATED, "it was ended")
        self.turn_until(lambda: group.state is GroupState.GONE)

    def turn_until(self, is_done):
        deadline = time.monotonic() + LIMIT_S
        while not is_done():
            assert time.monotonic() < deadline, "nothing came of it in time"
            self.loop.turn(0.05)
            self.loop.run_completions()


@pytest.fixture
def sharing():
    sharing = Sharing()
    yield sharing
    for group in sharing.groups:
        if group.state is not GroupState.GONE:
            sharing.end(group)
    sharing.loop.close()


def test_the_second_group_of_a_kind_starts_no_template(sharing):
    first, second = sharing.open(), sharing.open()
    other = sharing.open(shares="others")

    assert sharing.template_of(first) == sharing.template_of(second)
    assert sharing.template_of(other) != sharing.template_of(first)


def test_groups_that_ask_for_nothing_of_the_kind_have_templates_of_their_own(sharing):
    first, second = sharing.open(shares=""), sharing.open(shares="")

    assert sharing.template_of(first) != sharing.template_of(second)


def test_the_end_of_one_group_ends_its_workers_only(sharing):
    first, second = sharing.open(), sharing.open()
    template = psutil.Process(sharing.template_of(first))
    ended, left = sharing.worker_of(first), sharing.worker_of(second)

    sharing.end(first)

    assert not ended.is_running()
    assert left.is_running()
    assert sharing.template_of(second) == template.pid


def test_the_template_ends_with_the_last_group(sharing):
    first, second = sharing.open(), sharing.open()
    template = psutil.Process(sharing.template_of(first))

    sharing.end(first)
    sharing.end(second)

    assert not template.is_running()


def test_a_group_that_comes_while_the_template_ends_has_another(sharing):
    first = sharing.open()
    template = sharing.template_of(first)
    sharing.loop.client.terminate(first, OutcomeKind.TERMINATED, "it was ended")
    sharing.loop.turn(0.0)

    second = sharing.open()

    assert sharing.template_of(second) != template


def test_the_rings_of_more_workers_than_the_first_group_has(sharing):
    groups = [sharing.open() for _ in range(6)]

    assert len({sharing.template_of(group) for group in groups}) == 1
    assert len({sharing.worker_of(group).pid for group in groups}) == 6


def test_with_a_killed_template_all_groups_that_have_it_end(sharing):
    first, second = sharing.open(), sharing.open()
    os.kill(sharing.template_of(first), signal.SIGKILL)

    sharing.turn_until(lambda: first.state is second.state is GroupState.GONE)

    assert "has ended" in first.reason
    assert "has ended" in second.reason
