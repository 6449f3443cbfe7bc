"""What a lease had is free when its worker has ended, and not a moment before."""

import os
import signal

import psutil
import pytest

import distpool
from distpool.protocol.messages import ReturnLease
from distpool.roles.head import HeadRole
from distpool.runtime.descendants import wait_for_ends

from .programs import LIMIT_S, left_of, until

MUCH = 150 * 1024 * 1024
"""To be given back: the end of a process takes some time."""

_held = []


def hold_memory(_):
    _held.append(b"x" * MUCH)
    return os.getpid()


@pytest.mark.parametrize("killed", ["worker", "template"])
def test_a_lease_is_given_back_after_its_process_has_ended(monkeypatch, killed):
    seen = []
    handle = HeadRole.handle

    def watched(role, sender, message, now):
        if isinstance(message, ReturnLease):
            seen.append(left_of([worker]))
        handle(role, sender, message, now)

    with distpool.get_context("fork").Pool(1) as pool:
        worker = psutil.Process(pool.map(hold_memory, [None])[0])
        monkeypatch.setattr(HeadRole, "handle", watched)
        os.kill(worker.pid if killed == "worker" else pool._workers._crew.template.pid, signal.SIGKILL)
        assert until(lambda: len(seen) == 1, LIMIT_S)
        assert seen == [[]]
        pool.terminate()
        pool.join()


def test_processes_that_do_not_end_are_told_after_the_limit():
    with psutil.Popen(["sleep", "60"]) as lives, psutil.Popen(["sleep", "0"]) as ends:
        assert wait_for_ends([ends.pid], LIMIT_S) == []
        assert wait_for_ends([lives.pid, ends.pid], 0.05) == [lives.pid]
        lives.kill()
        assert wait_for_ends([lives.pid], LIMIT_S) == []
    assert wait_for_ends([lives.pid], 0.0) == [], "it is gone"
