"""A program that uses the store in every way, and is killed, or has its worker killed, at one of its steps.

store_program.py SPILL_FOLDER START_METHOD POINT WHEN WHO
"""

import gc
import importlib
import os
import signal
import sys

import numpy as np

import distpool

MIB = 1 << 20
DRIVER = os.getpid()


def kill_at(point: str, when: str, who: str) -> None:
    """SIGKILL at the beginning ("before") or the end ("after") of a function, in the driver or a worker."""
    module_name, path = point.split(":")
    owner = importlib.import_module(module_name)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    function = getattr(owner, name)

    def die() -> None:
        if (os.getpid() == DRIVER) == (who == "driver"):
            print("killed", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    def dying(*args, **kwargs):
        if when == "before":
            die()
        result = function(*args, **kwargs)
        if when == "after":
            die()
        return result

    setattr(owner, name, dying)


def work(array, ref):
    held = distpool.put(array + 1)
    return array.sum() + distpool.get(ref["ref"]).sum(), np.ones(MIB // 4), held


def main() -> None:
    folder, method, point, when, who = sys.argv[1:]
    # So small that the driver comes to each point of putting on disk; a worker finds most in memory.
    distpool.configure_store(size="16MiB" if who == "driver" else "128MiB", spill_folder=folder)
    if who == "driver":
        pool = distpool.get_context(method).Pool(2)
        pool.map(abs, range(4))
    kill_at(point, when, who)
    if who == "worker":
        pool = distpool.get_context(method).Pool(2)
    refs = [distpool.put(np.full(MIB // 4, float(number))) for number in range(12)]
    try:
        for _ in range(3):
            results = pool.starmap(work, [(np.ones(MIB // 4), {"ref": ref}) for ref in refs], chunksize=1)
            distpool.get([result[2] for result in results])
            del results
    except distpool.WorkerDied:
        print("died", flush=True)
    distpool.get(refs)
    del refs
    pool.terminate()
    pool.join()
    gc.collect()  # an exception that a result has raised refers to it
    print(distpool.store_stats().objects, "objects are left", flush=True)


if __name__ == "__main__":
    main()
