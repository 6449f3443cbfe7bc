"""How long does the import take, in an interpreter that has imported nothing else?"""

from __future__ import annotations

import os
import subprocess
import sys
from statistics import median

MODULES = {"standard": "multiprocessing.pool", "distpool": "distpool"}
REPEATS = 7
PROGRAM = "import time; began_at = time.perf_counter(); import {}; print(time.perf_counter() - began_at)"


def measure(kind: str) -> dict[str, float]:
    command = [sys.executable, "-c", PROGRAM.format(MODULES[kind])]
    taken_s = [
        float(subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=True).stdout)
        for _ in range(REPEATS)
    ]
    return {"import_ms": median(taken_s) * 1e3}


if __name__ == "__main__":
    from libraries import main

    main(measure)
