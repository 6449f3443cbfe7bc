"""The libraries that are compared, each with two faces that the questions use.

A *pool* has `apply`, `apply_async`, `map`, `imap_unordered` with the standard `Pool`'s meaning; an *executor* has
`submit` and `as_completed(futures)`. The standard library and distpool have both; a peer has those that it offers by
itself (peers.py), and raises NotOffered for the others.
"""

from __future__ import annotations

import concurrent.futures
import json
import multiprocessing
import sys
import time
from contextlib import contextmanager

STANDARD = "standard"
OURS = "distpool"
PEERS = ("loky", "joblib", "mpire", "ray", "dask")
LIBRARIES = (STANDARD, OURS, *PEERS)
WORKERS = 2
NOT_OFFERED = "not_offered"


class NotOffered(Exception):
    """The library has no such call."""


def noop(value):
    return value


@contextmanager
def open_pool(name, workers=WORKERS):
    """A pool of forked workers, or what the peer has; closed and joined at the end."""
    if name in PEERS:
        from peers import POOLS

        with find(POOLS, name, "pool")(workers) as pool:
            yield pool
        return
    with context_of(name).Pool(workers) as pool:
        yield pool
        pool.close()
        pool.join()


@contextmanager
def open_executor(name, workers=WORKERS):
    """An executor of forked workers, or what the peer has; shut down at the end."""
    if name in PEERS:
        from peers import EXECUTORS

        with find(EXECUTORS, name, "executor")(workers) as executor:
            yield executor
        return
    with new_executor(name, workers) as executor:
        yield executor


def new_executor(name, workers=WORKERS):
    """The standard library's or distpool's executor."""
    module = concurrent.futures
    if name == OURS:
        import distpool.futures as module

    class Executor(module.ProcessPoolExecutor):
        as_completed = staticmethod(module.as_completed)

    return Executor(workers, mp_context=context_of(name))


def context_of(name, method="fork"):
    module = multiprocessing
    if name == OURS:
        import distpool as module
    return module.get_context(method)


def find(faces, name, face):
    if name not in faces:
        raise NotOffered(f"{name} has no {face}")
    return faces[name]


def offered(questions):
    """Ask each of `questions`, key to function, and leave out what the library does not offer."""
    answers, missing = {}, []
    for key, question in questions.items():
        try:
            answers[key] = question()
        except NotOffered as reason:
            missing.append(str(reason))
    if not answers:
        raise NotOffered("; ".join(dict.fromkeys(missing)))
    return answers


def fewer(count, name, divisors):
    """`count` divided for the libraries that are so slow that all of it would take minutes; rates stay comparable."""
    return count // divisors.get(name, 1)


def seconds(function):
    began_at = time.perf_counter()
    function()
    return time.perf_counter() - began_at


def main(measure):
    """Each question's file run by itself: `python benchmarks/NAME.py LIBRARY` prints its figures as JSON."""
    if len(sys.argv) != 2 or sys.argv[1] not in LIBRARIES:
        sys.exit(f"usage: {sys.argv[0]} {'|'.join(LIBRARIES)}")
    try:
        answer = measure(sys.argv[1])
    except NotOffered as reason:
        answer = {NOT_OFFERED: str(reason)}
    # On a line of its own and last: some libraries print as well.
    print("\n" + json.dumps(answer), flush=True)
