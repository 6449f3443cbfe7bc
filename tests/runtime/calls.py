"""Functions that the tests of the runtime call in workers."""

import os
import signal
import time
from pathlib import Path

LIMIT_S = 20.0


def square(value: int) -> int:
    return value * value


def wait_for(path: str) -> str:
    """Return when the file is there."""
    give_up_at = time.monotonic() + LIMIT_S
    while not Path(path).exists():
        if time.monotonic() > give_up_at:
            raise TimeoutError(path)
        time.sleep(0.005)
    return path


def tell_pid_and_wait(folder: str) -> None:
    """Say which process runs this, and stay."""
    Path(folder, f"pid-{os.getpid()}").touch()
    time.sleep(LIMIT_S)


def pid_of_worker() -> int:
    return os.getpid()


def exit_at(value: int, culprit: int) -> int:
    if value == culprit:
        os._exit(7)
    return value


def kill_oneself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def large(size: int) -> bytes:
    return bytes(size)
