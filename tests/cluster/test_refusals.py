"""What a node or head cannot hear is an error with its reason: nobody waits for it."""

import pytest

from distpool import Pool
from distpool.errors import PoolBroken
from distpool.protocol.cluster import UseLease
from distpool.protocol.messages import RequestLeases
from distpool.runtime import far_side, links
from tests.cluster import tasks


def say_garbage_after(kind, monkeypatch):
    """What follows each message of this kind, on its link, is no message."""

    def say(link, message):
        links_say(link, message)
        if isinstance(message, kind):
            link.send([b"\xc1"])

    links_say = links.say
    monkeypatch.setattr(links, "say", say)


def broken(pool):
    """Why its calls end."""
    with pytest.raises(PoolBroken) as caught:
        pool.apply_async(tasks.square, (3,)).get(20)
    return str(caught.value)


def test_a_pool_with_a_message_that_a_node_cannot_hear_is_broken_and_the_next_one_runs(two_nodes, monkeypatch):
    with monkeypatch.context() as patched:
        say_garbage_after(UseLease, patched)
        with Pool(2) as pool:
            assert "on node " in (why := broken(pool))
            assert "it cannot hear what was said to it: a frame that is no message" in why
    with Pool(2) as pool:
        assert pool.map(tasks.square, range(10)) == [x * x for x in range(10)]


def test_a_group_that_a_node_refuses_breaks_its_pool_with_the_reason(two_nodes, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(far_side, "FAR_METHODS", {"fork": "vfork", "spawn": "vfork", "forkserver": "vfork"})
        with Pool(2) as pool:
            assert "the start method 'vfork' is none of" in broken(pool)
    with Pool(2) as pool:
        assert pool.map(tasks.square, range(10)) == [x * x for x in range(10)]


def test_a_pool_without_a_worker_whose_program_the_head_cannot_hear_is_broken_and_the_next_one_runs(
    two_nodes, monkeypatch
):
    with monkeypatch.context() as patched:
        say_garbage_after(RequestLeases, patched)
        with Pool(2) as pool:
            assert "refuses this program: it cannot hear what was said to it: a frame that is no message" in broken(
                pool
            )
    with Pool(2) as pool:
        assert pool.map(tasks.square, range(10)) == [x * x for x in range(10)]
