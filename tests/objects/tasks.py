"""Functions for pools, on arrays and refs."""

import os
import signal
import subprocess
import time

import numpy as np

import distpool

kept = {}


def total(array):
    return float(np.sum(array))


def first_and_place(array, number):
    return float(array[number]), array.flags.writeable


def filled(count, value):
    return np.full(count, value)


def give_back(value):
    return value


def add_one(array):
    array += 1
    return array


def are_one(one, other):
    return one is other


def first_after_adding_one(array):
    array[0] += 1
    return float(array[0])


def keep(name, value):
    kept[name] = value


def total_of(name):
    return total(kept[name])


def forget(name):
    kept.pop(name, None)


def keep_for_all(value):
    kept["initial"] = value


def put(count, value):
    return distpool.put(np.full(count, value))


def put_and_keep(name, count):
    kept[name] = distpool.put(np.ones(count))
    return kept[name]


def put_named(count):
    return distpool.put({"inner": distpool.put(np.full(count, 2.0))})


def get_total(value):
    return total(distpool.get(value["ref"]))


def kinds(value):
    return type(value).__name__, [type(each).__name__ for each in value]


def die_with(array):
    os.kill(os.getpid(), signal.SIGKILL)


def fail_with(array):
    raise ValueError("no good", array[0])


def total_slowly(array, seconds):
    time.sleep(seconds)
    return total(array)


def in_a_pool_of_its_own(array):
    with distpool.Pool(1) as pool:
        return total(pool.apply(add_one, (array,)))


def ref_in_a_pool_of_its_own(value):
    with distpool.Pool(1) as pool:
        return pool.apply(total, (value["ref"],))


def stats():
    return distpool.store_stats()


def fork_and_keep(array):
    """A child that outlives the call, and looks at the array later."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        time.sleep(0.6)
        os.write(writer, b"+" if (array == array[0]).all() else b"-")
        os._exit(0)
    kept["child"] = (child, reader)
    return float(array[0])


def word_of_child(_):
    child, reader = kept.pop("child")
    os.waitpid(child, 0)
    return os.read(reader, 1)


def descriptors_of_a_program():
    listing = ["/bin/sh", "-c", "ls -l /proc/self/fd"]
    return subprocess.run(listing, close_fds=False, capture_output=True, text=True, check=True).stdout
