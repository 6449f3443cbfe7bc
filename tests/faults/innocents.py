"""Calls that do nothing wrong, and the ledger in which each call that has begun writes one line."""

import os
import time
from collections import Counter
from pathlib import Path

LIMIT_S = 20.0


class Ledger:
    """A file to which workers append: a line is written whole or not at all, also by a worker that is then killed."""

    def __init__(self, path):
        self.path = str(path)

    def write(self, line):
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, f"{line}\n".encode())
        finally:
            os.close(descriptor)

    def lines(self):
        path = Path(self.path)
        return path.read_text().splitlines() if path.exists() else []

    def counts(self):
        return Counter(self.lines())

    def wait_for(self, line, limit_s=LIMIT_S):
        """Whether the line was written in time."""
        give_up_at = time.monotonic() + limit_s
        while line not in self.lines():
            if time.monotonic() > give_up_at:
                return False
            time.sleep(0.002)
        return True


def square(ledger, value):
    ledger.write(f"square {value}")
    return value * value


def stay(ledger, name, gate):
    """Say that it has begun, and return once there is a file at `gate`."""
    ledger.write(name)
    give_up_at = time.monotonic() + 2 * LIMIT_S
    while not os.path.exists(gate):
        if time.monotonic() > give_up_at:
            raise TimeoutError(gate)
        time.sleep(0.002)
    return name


def stay_with_pid(ledger, name, gate):
    """Like `stay`; the line holds the pid of the worker too."""
    return stay(ledger, f"{name} {os.getpid()}", gate)


def write_pid(ledger, name):
    ledger.write(f"{name} {os.getpid()}")
    return os.getpid()
