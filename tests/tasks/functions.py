"""Remote functions for tests."""

import os
import signal
import time

import numpy as np

import distpool

STEP_S = 0.005
LIMIT_S = 60.0


def wait_until(condition, limit_s=LIMIT_S):
    """Look again and again; AssertionError when it does not become true."""
    ends_at = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < ends_at, "it did not become true"
        time.sleep(STEP_S)


def note_line(path, line):
    with open(path, "a") as file:
        file.write(f"{line}\n")


kept = []


def remember(*values):
    kept[:] = [type(value).__name__ for value in values]


def remembered():
    return kept


@distpool.remote
def pid():
    return os.getpid()


@distpool.remote
def variable(name):
    return os.environ.get(name)


@distpool.remote
def identity(value):
    """Gives `value`."""
    return value


@distpool.remote
def add(one, other=0):
    return one + other


@distpool.remote
def fail(text="no"):
    raise ValueError(text)


@distpool.remote
def note(path, line, *values):
    note_line(path, line)
    return line


@distpool.remote
def meet(path, number):
    """Ends when so many of it run."""
    note_line(path, "here")

    def are_all_here():
        with open(path) as file:
            return len(file.readlines()) >= number

    wait_until(are_all_here)


@distpool.remote
def wait_for(path):
    wait_until(lambda: os.path.exists(path))
    return path


@distpool.remote
def run_until_interrupted(path):
    try:
        note_line(path, "begun")
        time.sleep(LIMIT_S)
    except KeyboardInterrupt:
        note_line(path, "interrupted")
        raise


@distpool.remote
def nap(seconds):
    time.sleep(seconds)


@distpool.remote
def die():
    os.kill(os.getpid(), signal.SIGKILL)


@distpool.remote
def fail_at_first(path, times, kind=OSError):
    """Raises for the first `times` runs."""
    note_line(path, "run")
    with open(path) as file:
        if len(file.readlines()) <= times:
            raise kind("not yet")
    return "done"


@distpool.remote
def die_at_first(path):
    note_line(path, "run")
    with open(path) as file:
        if len(file.readlines()) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    return "done"


@distpool.remote
def zeros(size):
    return np.zeros(size)


@distpool.remote
def total(array):
    return float(array.sum())


@distpool.remote
def kinds(*values, **named):
    return [type(value).__name__ for value in [*values, *named.values()]]


@distpool.remote
def plain_total(values):
    return sum(values)


@distpool.remote
def gated(gate):
    yield "first"
    wait_until(lambda: os.path.exists(gate))
    yield "second"


@distpool.remote
def noted(path, number):
    """Writes down each item, and its end."""
    try:
        for item in range(number):
            note_line(path, item)
            yield item
    finally:
        note_line(path, "end")
