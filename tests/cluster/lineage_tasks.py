"""What tasks do whose values stay on nodes."""

import os

import numpy as np

import distpool
from tests.cluster.tasks import append, node_of, total_after


@distpool.remote
def ones(size, path):
    """Writes down where it runs."""
    append(path, node_of(os.getpid()))
    return np.ones(size)


@distpool.remote
def sum_of(path, *arrays):
    """Writes down where it runs."""
    append(path, node_of(os.getpid()))
    return sum(arrays)


@distpool.remote(num_returns=2)
def ones_and_twos(size):
    return np.ones(size), np.full(size, 2.0)


@distpool.remote
def total(*arrays):
    """(the sum of all, the node)"""
    return sum(float(array.sum()) for array in arrays), node_of(os.getpid())


@distpool.remote
def total_when_told(path, gate, array):
    """Writes down where it runs, and waits until there is a file `gate`."""
    append(path, node_of(os.getpid()))
    return total_after(gate, array)


@distpool.remote
def total_of_ref(refs):
    """(the sum, the node) of a value that it asks for itself."""
    return float(distpool.get(refs[0]).sum()), node_of(os.getpid())


@distpool.remote
def started_inside(size, path):
    """A ref, and what a task has of it."""
    ref = ones.options(retries=1).remote(size, path)
    return ref, distpool.get(total.remote(ref))[0], float(distpool.get(ref).sum())


@distpool.remote
def fail_at_second(size, path):
    """Raises when it runs for the second time, in all of its runs."""
    append(path, "run")
    with open(path) as file:
        if len(file.readlines()) == 2:
            raise OSError("not now")
    return np.ones(size)


@distpool.remote
class Summing:
    def total(self, array):
        return float(array.sum()), node_of(os.getpid())
