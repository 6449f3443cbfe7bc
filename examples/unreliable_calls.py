"""Render frames with a renderer that sometimes hangs, crashes or raises: what becomes of each frame, and of the others.

    python examples/unreliable_calls.py
    python examples/unreliable_calls.py --frames 200 --processes 4

Every seventh frame ends its process as a crash in native code would, every eleventh never ends, every thirteenth
raises, and every fifth ends its process the first time only, so that a second try helps. All others come out right.
"""

import argparse
import collections
import os
import pathlib
import signal
import tempfile
import time

import distpool


def render(frame: int, folder: str) -> int:
    """The number of pixels of a frame, if all goes well."""
    if frame % 7 == 0:
        os.kill(os.getpid(), signal.SIGSEGV)
    if frame % 11 == 0:
        time.sleep(1_000_000)
    if frame % 13 == 0:
        raise ValueError(f"frame {frame} has no scene")
    first_try = pathlib.Path(folder, str(frame))
    if frame % 5 == 0 and not first_try.exists():
        first_try.touch()
        os._exit(1)
    return frame * frame


def main() -> None:
    parser = argparse.ArgumentParser(description="Run calls that hang and crash.")
    parser.add_argument("--frames", type=int, default=60, help="numbered from 1 (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="default: the CPUs (%(default)s)")
    options = parser.parse_args()

    outcomes: collections.Counter[str] = collections.Counter()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, distpool.Executor(options.processes) as executor:
        careful = executor.with_options(timeout="500ms", retries=1)
        futures = {frame: careful.submit(render, frame, folder) for frame in range(1, options.frames + 1)}
        for frame, future in futures.items():
            try:
                right = future.result() == frame * frame
                outcomes["rendered" if right else "wrong"] += 1
            except distpool.CallTimeout:
                outcomes["over the time limit"] += 1
            except distpool.WorkerDied as death:
                outcomes[f"its worker died of {signal.Signals(-death.exitcode).name}"] += 1
            except ValueError:
                outcomes["raised ValueError"] += 1
    for outcome, frames in sorted(outcomes.items()):
        print(f"{frames:4} {outcome}")
    print(f"{options.frames} frames in {time.perf_counter() - start:.1f} s, {options.processes} processes")


if __name__ == "__main__":
    main()
