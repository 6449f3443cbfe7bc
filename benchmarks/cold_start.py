"""How long does it take a fresh interpreter to import the library, open 2 workers, get a first result and close them?

Measured: in a script of its own, from before the import until after the close, median of 5 processes, in
milliseconds, with the start methods fork and spawn; and the same by the clock of the one who runs the script, which
has the interpreter's start and end too. Peers that start fresh interpreters in their own way are shown beside spawn.
Against: the standard Pool with the same start method.
Goal: at most 2 times its time with fork, at most 1 time with spawn.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from figure import Figure
from libraries import fewer, find, main, offered
from programs import FORK, SPAWN

FIGURES = [
    Figure("fork_ms", "cold start, fork", "ms", 1, ratio_goal=2, panel="Cold start, fork"),
    Figure("spawn_ms", "cold start, spawn", "ms", 1, ratio_goal=1, panel="Cold start, spawn"),
    Figure("fork_process_ms", "the whole process, fork", "ms", 1),
    Figure("spawn_process_ms", "the whole process, spawn", "ms", 1),
]
REPEATS = 5
FEWER = {"ray": 5, "dask": 2, "joblib": 2, "loky": 2}
SCRIPT = """
import time
began_at = time.perf_counter()
{0.begin}
if __name__ == "__main__":
    {0.open}
    {0.use}
    {0.close}
    print()
    print(time.perf_counter() - began_at)
"""


def measure(name):
    answers = offered({"fork": lambda: start(FORK, name), "spawn": lambda: start(SPAWN, name)})
    return {f"{method}{key}": figure for method, figures in answers.items() for key, figure in figures.items()}


def start(programs, name):
    program = find(programs, name, "start method fork")
    inside_s, whole_s = [], []
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.py"
        script.write_text(SCRIPT.format(program))
        for _ in range(fewer(REPEATS, name, FEWER)):
            began_at = time.perf_counter()
            done = subprocess.run([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, check=True)
            whole_s.append(time.perf_counter() - began_at)
            inside_s.append(float(done.stdout.split()[-1]))
    return {"_ms": median(inside_s) * 1e3, "_process_ms": median(whole_s) * 1e3}


if __name__ == "__main__":
    main(measure)
