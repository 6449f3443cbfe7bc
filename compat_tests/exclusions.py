"""Tests that do not count: they ask about the inside of the standard library, or are wrong themselves.

Each has a pattern of the test's id, `suite.class.test`, and a reason. Everything else counts. On a cluster some more
do not count: they need workers on the program's own machine.
"""

import re
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Exclusion:
    """Tests that do not count, on Python versions up to `last_version` when that is given."""

    pattern: str
    reason: str
    last_version: tuple[int, int] | None = None

    def concerns(self, test_id: str) -> bool:
        is_past = self.last_version is not None and sys.version_info[:2] > self.last_version
        return not is_past and re.fullmatch(self.pattern, test_id) is not None


EXCLUSIONS = (
    Exclusion(
        r"test_multiprocessing_\w+\.TestPoolNotLeakOnFailure\.test_release_unused_processes",
        "The test gives the pool a context whose `Process` is a stand-in that counts its calls and fails in `start`. "
        "That a pool starts its workers through this class is how the standard pool is made, and no promise of the API",
    ),
    Exclusion(
        r"test_concurrent_futures\.ProcessPool\w+ProcessPoolExecutorTest\.test_python_finalization_error",
        "The test lets the second thread that an executor starts fail, because the standard executor starts the feeder "
        "of its call queue as the second. distpool's executor starts one thread, so nothing fails, and the pool is "
        "rightly not broken",
    ),
    Exclusion(
        r"test_multiprocessing_\w+\.WithThreadsTestPool\.test_terminate",
        "The test fails by chance on the standard library too, whose `ThreadPool` distpool has. Threads cannot be "
        "forced to end, so it waits for five minutes when a first call has begun before `terminate`. The suites of "
        "Python 3.13 have it corrected",
        last_version=(3, 12),
    ),
)


ON_CLUSTER = (
    Exclusion(
        r"test_concurrent_futures\.ProcessPool\w+FailingInitializerTest\.test_initializer",
        "The initializer is given a queue, which workers get by inheritance. Those of another machine inherit nothing, "
        "so the queue is refused",
    ),
    Exclusion(
        r"test_concurrent_futures\.ProcessPool\w+\.test_(processes_terminate|killed_child|saturation"
        r"|idle_process_reuse_one|max_tasks_per_child)",
        "The test looks the worker processes up by their ids, in the executor's private `_processes`. The id of a "
        "process of another machine means nothing on this one, so there are none in it",
    ),
    Exclusion(
        r"test_multiprocessing_\w+\.WithProcessesTestPool\w*\.test_(make_pool|pool_worker_lifetime)",
        "The test counts the processes in the pool's private `_pool` right after the pool was made. Workers start on "
        "their nodes as soon as there is room for them, and the pool does not wait for that",
    ),
)


def reason_to_exclude(test_id: str, *, on_cluster: bool = False) -> str:
    """The reason why this test does not count; empty when it counts."""
    for exclusion in (*EXCLUSIONS, *(ON_CLUSTER if on_cluster else ())):
        if exclusion.concerns(test_id):
            return exclusion.reason
    return ""
