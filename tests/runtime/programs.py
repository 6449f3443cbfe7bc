"""Drivers as programs of their own, so that a test may kill them; and what becomes of processes."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import psutil

import distpool

LIMIT_S = 20.0
STEP_S = 0.005
LIBRARY = str(Path(distpool.__file__).parent.parent)


def environment(folder: Path) -> dict[str, str]:
    """With a folder of its own for temporary files. Newer Pythons warn of a fork in a process with threads."""
    temporary = folder / "temporary"
    temporary.mkdir(exist_ok=True)
    return {**os.environ, "PYTHONPATH": LIBRARY, "PYTHONWARNINGS": "ignore", "TMPDIR": str(temporary)}


@contextlib.contextmanager
def program(folder: Path, source: str, *arguments: str) -> Iterator[subprocess.Popen]:
    """Run `source` as a script. What is left of it at the end is killed."""
    script = folder / "driver.py"
    script.write_text(textwrap.dedent(source))
    with subprocess.Popen(
        [sys.executable, str(script), *arguments],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def output_of(folder: Path, source: str, *arguments: str) -> str:
    """What a program prints that must end well and print no error."""
    with program(folder, source, *arguments) as process:
        output, errors = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0, errors
        assert errors == ""
        return output


def reports_in(errors: str) -> int:
    """How many errors were reported. One that came up while another was handled is reported with that one."""
    tracebacks = errors.count("Traceback (most recent call last):\n")
    return tracebacks - errors.count("\nDuring handling of the above exception, another exception occurred:\n")


def until(is_so: Callable[[], object], limit_s: float = LIMIT_S) -> bool:
    """Look again and again until it is so; whether it came to be."""
    give_up_at = time.monotonic() + limit_s
    while not is_so():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(STEP_S)
    return True


def is_gone(process: psutil.Process) -> bool:
    """It has ended; whether somebody has reaped it is another matter."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def left_of(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if not is_gone(process)]


def processes_of(driver: int) -> list[psutil.Process]:
    """All processes below the driver."""
    return psutil.Process(driver).children(recursive=True)


def shared_memory_files() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if "distpool" in name}
