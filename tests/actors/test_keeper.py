"""When a keeper ends: with nothing to keep and nobody there, and with its cluster. What it prints goes to its log."""

import signal
import time
from types import SimpleNamespace

import pytest

from distpool.actors import keeper
from distpool.actors.keeper import Keeper, LogLines
from distpool.logic.actor_plan import ActorState


@pytest.fixture
def kept(monkeypatch):
    """A keeper whose cluster is pretended."""
    monkeypatch.setattr(keeper, "_LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(keeper, "_FIRST_USE_LIMIT_S", 0.0)
    programs = SimpleNamespace(life=7, name="keeper 5", have_guests=lambda: False, head_heard_at=time.monotonic)
    listening = SimpleNamespace(endpoint="tcp://there:1", public="key")
    names = SimpleNamespace(programs=programs, hosted=SimpleNamespace(), listening=lambda: listening)
    before = signal.getsignal(signal.SIGTERM)
    yield Keeper(names)
    signal.signal(signal.SIGTERM, before)


def looks(answers):
    """One after the other, and then the last."""
    return lambda: answers.pop(0) if len(answers) > 1 else answers[0]


def test_it_ends_when_it_has_no_actor_and_nobody_is_there(kept, caplog):
    caplog.set_level("INFO", logger="distpool")
    states = [ActorState.PENDING, ActorState.RESTARTING, ActorState.ALIVE, ActorState.DEAD]

    class Life:
        state = property(lambda self: looks(states)())

    kept._lives.append(Life())
    kept._names.programs.have_guests = looks([True, True, False])
    kept.run()
    assert states == [ActorState.DEAD]
    assert kept._lives == []
    assert "it has no actor, and nobody has a link to it" in caplog.text


def test_it_ends_with_its_cluster_whatever_it_has(kept, caplog):
    kept._names.programs.have_guests = lambda: True
    kept._names.programs.head_heard_at = lambda: -1000.0
    kept.run()
    assert "the head was not heard of for 60 s: the cluster has ended" in caplog.text


def test_it_ends_when_it_is_told_to(kept):
    kept._names.programs.have_guests = lambda: True
    kept._names.programs.head_heard_at = lambda: signal.raise_signal(signal.SIGTERM) or time.monotonic()
    kept.run()


def test_lines_go_to_the_log_when_they_end(caplog):
    caplog.set_level("INFO", logger="distpool")
    lines = LogLines()
    print("one\ntwo", end="", file=lines)
    assert [record.message for record in caplog.records] == ["one"]
    print(" and more", file=lines)
    assert [record.message for record in caplog.records] == ["one", "two and more"]
