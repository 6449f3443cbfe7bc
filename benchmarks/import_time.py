"""How long does the import take, in an interpreter that has imported nothing else?

Measured: around the import statement, median of 7 fresh interpreters after one that is not counted, in milliseconds.
They run with `-S` and the folders of the packages in PYTHONPATH, because what `site` runs (an editable install's
finder, for one) has imported a part beforehand.
Against: `import multiprocessing.pool`.
Goal: at most 2.5 times its time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from statistics import median

from figure import Figure
from libraries import main
from programs import IMPORTS

FIGURES = [Figure("import_ms", "import", "ms", 1, ratio_goal=2.5, panel="Import")]
REPEATS = 7
PROGRAM = "import time; began_at = time.perf_counter(); {}; print(time.perf_counter() - began_at)"


def measure(name):
    command = [sys.executable, "-S", "-c", PROGRAM.format(IMPORTS[name])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if os.path.isdir(path))}

    def import_s():
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        return float(done.stdout.split()[-1])

    import_s()
    return {"import_ms": median(import_s() for _ in range(REPEATS)) * 1e3}


if __name__ == "__main__":
    main(measure)
