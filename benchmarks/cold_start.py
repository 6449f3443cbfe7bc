"""How long does it take from `Pool(2)` to its first result and until the pool is closed, in a fresh interpreter?"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from libraries import main

MODULES = {"standard": "multiprocessing", "distpool": "distpool"}
REPEATS = 5
PROGRAM = """
import time
import {} as library
context = library.get_context("fork")
began_at = time.perf_counter()
pool = context.Pool(2)
pool.apply(abs, (-1,))
pool.close()
pool.join()
print(time.perf_counter() - began_at)
"""


def measure(kind: str) -> dict[str, float]:
    command = [sys.executable, "-c", PROGRAM.format(MODULES[kind])]
    inside_s, whole_s = [], []
    for _ in range(REPEATS):
        began_at = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        whole_s.append(time.perf_counter() - began_at)
        inside_s.append(float(done.stdout))
    return {"pool_ms": median(inside_s) * 1e3, "process_ms": median(whole_s) * 1e3}


if __name__ == "__main__":
    main(measure)
