"""Ctrl-C at each point at which Python may run its handler: no lock stays held, no result and no process is lost.

What happens at which point is in `interrupting`; each operation runs in a program of its own.
"""

import os
import subprocess
import sys

import pytest

from ..runtime.programs import LIBRARY
from . import interrupting

LIMIT_S = 100.0


def points_of(method: str, kind: str, name: str, stride: int) -> int:
    finished = subprocess.run(
        [sys.executable, "-m", interrupting.__name__, method, kind, name, str(stride)],
        cwd=LIBRARY,
        env={**os.environ, "PYTHONPATH": LIBRARY, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        start_new_session=True,
    )
    assert finished.returncode == 0, finished.stderr
    # Of Python itself, which cannot raise what comes in a callback of the garbage collector.
    assert finished.stderr.count("Traceback") == finished.stderr.count("Exception ignored"), finished.stderr
    return int(finished.stdout)


def test_each_point_is_interrupted_once():
    reached = []

    def step(number):
        reached.append(number)
        reached.append(-number)

    def operation():
        step(1)
        step(2)

    seen = []
    for number in range(1, 10):
        where = interrupting.interrupted(operation, number)
        seen.append((where.split()[:2], reached.copy()))
        reached.clear()
    assert seen == [
        (["call", "operation"], []),
        (["call", "step"], []),
        (["c_return", "step"], [1]),
        (["c_return", "step"], [1, -1]),
        (["call", "step"], [1, -1]),
        (["c_return", "step"], [1, -1, 2]),
        (["c_return", "step"], [1, -1, 2, -2]),
        ([], [1, -1, 2, -2]),
        ([], [1, -1, 2, -2]),
    ]


@pytest.mark.parametrize("name", [*interrupting.calls(None, None), "a new function"])
def test_a_call(name):
    assert points_of("fork", "calls", name, 1 if name in ("apply", "submit") else 5) > 25


@pytest.mark.parametrize("name", interrupting.ITERATORS)
def test_an_iterator_that_is_used_again(name):
    assert points_of("fork", "iterator", name, 1) > 50


@pytest.mark.parametrize("name", ["result", "map", "imap", "wait"])
def test_a_call_while_other_threads_make_calls(name):
    assert points_of("fork", "beside others", name, 2) > 25


@pytest.mark.parametrize(
    ("method", "name"), [*(("fork", name) for name in interrupting.LIVES), ("spawn", "Pool"), ("forkserver", "Pool")]
)
def test_a_pool_or_executor_that_begins_or_ends(method, name):
    assert points_of(method, "life", name, 97) > 100


@pytest.mark.parametrize("name", interrupting.tasks())
def test_a_use_of_tasks(name):
    assert points_of("fork", "tasks", name, 19) > 50


@pytest.mark.parametrize("name", interrupting.uses_of_the_store(None, []))
def test_a_use_of_the_store(name):
    stride = {"put on disk": 61, "get from disk": 41, "map of arrays": 37}.get(name, 11)
    assert points_of("fork", "store", name, stride) > 50
