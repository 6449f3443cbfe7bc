"""Run many seeds of the cluster's simulation, and tell of each that breaks a rule.

python -m tests.simulation.cluster --seeds 20000 [--first 0] [--all-lines]
"""

from __future__ import annotations

import argparse
import logging
import sys
import time

from tests.simulation.cluster.scenario import ClusterScenario
from tests.simulation.transcript import LAST_LINES, Violation

TELL_EVERY = 500


def tell(first: int, last: int, began_at: float, failed: list[tuple[int, str]]) -> None:
    print(
        f"seeds {first} to {last}: {time.process_time() - began_at:.1f} s, {len(failed)} failed: {failed}", flush=True
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.cluster")
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first one")
    parser.add_argument("--most", type=int, default=3, help="stop after so many that fail")
    parser.add_argument("--all-lines", action="store_true", help="print whole transcripts")
    options = parser.parse_args()
    logging.disable()
    began_at = time.process_time()
    failed = []
    for seed in range(options.first, options.first + options.seeds):
        try:
            ClusterScenario(seed).run(None if options.all_lines else LAST_LINES)
        except Violation as violation:
            print(violation, flush=True)
            failed.append((seed, violation.rule))
            if len(failed) >= options.most:
                break
        if (seed + 1) % TELL_EVERY == 0:
            tell(options.first, seed, began_at, failed)
    tell(options.first, seed, began_at, failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
