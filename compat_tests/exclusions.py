"""Tests that ask about the inside of the standard library, where another implementation has nothing to answer.

Each entry is a pattern of a test's id, `suite.class.test`, and the reason. Everything else counts.
"""

import re

EXCLUSIONS: dict[str, str] = {
    r"test_multiprocessing_\w+\.TestPoolNotLeakOnFailure\.test_release_unused_processes": (
        "The test gives the pool a context whose `Process` is a stand-in that counts its calls and fails in `start`. "
        "That a pool starts its workers through this class is how the standard pool is made, and no promise of the API"
    ),
    r"test_concurrent_futures\.ProcessPool\w+ProcessPoolExecutorTest\.test_python_finalization_error": (
        "The test lets the second thread that an executor starts fail, because the standard executor starts the feeder "
        "of its call queue as the second. distpool's executor starts one thread, so nothing fails, and the pool is "
        "rightly not broken"
    ),
}


def reason_to_exclude(test_id: str) -> str:
    """The reason why this test does not count; empty when it counts."""
    for pattern, reason in EXCLUSIONS.items():
        if re.fullmatch(pattern, test_id):
            return reason
    return ""
