"""A worker that dies takes the call that it had begun with it, and nothing else."""

import os
import signal
import time

import psutil
import pytest

import distpool
import distpool.futures
from distpool.errors import PoolBroken, WorkerDied

from . import calls
from .programs import LIMIT_S, output_of, until


@pytest.fixture
def pool():
    with distpool.get_context("fork").Pool(2) as pool:
        yield pool
    pool.join()


def pids(pool: distpool.Pool) -> set[int]:
    return {worker.pid for worker in pool._pool}


def busy_pids(folder, count: int) -> list[int]:
    """The workers that have said that they run a call."""
    assert until(lambda: len(list(folder.glob("pid-*"))) == count)
    return [int(path.name.removeprefix("pid-")) for path in folder.glob("pid-*")]


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_worker_killed_while_it_runs_fails_that_call_only(tmp_path, method):
    with distpool.get_context(method).Pool(2) as pool:
        victim_call = pool.apply_async(calls.tell_pid_and_wait, [str(tmp_path)])
        (victim,) = busy_pids(tmp_path, 1)
        before = pids(pool)
        others = [pool.apply_async(calls.square, [value]) for value in range(200)]
        many = pool.map_async(calls.square, range(200), chunksize=1)
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(WorkerDied, match=f"{victim} was killed by SIGKILL") as caught:
            victim_call.get(LIMIT_S)
        assert isinstance(caught.value, distpool.futures.BrokenProcessPool)
        assert [other.get(LIMIT_S) for other in others] == [value * value for value in range(200)]
        assert many.get(LIMIT_S) == [value * value for value in range(200)]
        assert pool.apply(calls.square, [12]) == 144
        assert until(lambda: len(pids(pool)) == 2)
        assert pids(pool) & before == before - {victim}
    pool.join()


def test_a_death_is_noticed_at_once(pool, tmp_path):
    result = pool.apply_async(calls.tell_pid_and_wait, [str(tmp_path)])
    (victim,) = busy_pids(tmp_path, 1)
    os.kill(victim, signal.SIGKILL)
    killed_at = time.monotonic()
    with pytest.raises(WorkerDied):
        result.get(LIMIT_S)
    assert time.monotonic() - killed_at < 0.5


def test_calls_that_the_dead_worker_held_and_had_not_begun_run_elsewhere(tmp_path):
    with distpool.get_context("fork").Pool(1) as pool:
        pool.map(calls.square, range(5000), chunksize=1)  # calls are short, so many are sent ahead
        blocked = pool.apply_async(calls.tell_pid_and_wait, [str(tmp_path)])
        (victim,) = busy_pids(tmp_path, 1)
        behind = pool.map_async(calls.square, range(500), chunksize=1)
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(WorkerDied):
            blocked.get(LIMIT_S)
        assert behind.get(LIMIT_S) == [value * value for value in range(500)]
    pool.join()


def test_a_worker_that_exits_in_a_call_fails_it_with_its_exit_code(pool):
    with pytest.raises(WorkerDied, match="exited with code 7"):
        pool.apply_async(calls.exit_at, (1, 1)).get(LIMIT_S)
    assert pool.map_async(calls.square, [1, 2, 3]).get(LIMIT_S) == [1, 4, 9]


DYING_WORKERS = """
    import os
    import distpool
    from distpool.errors import WorkerDied

    def exit_sometimes(value):
        if value % 50 == 7:
            os._exit(1)
        return value

    if __name__ == "__main__":
        for _ in range(25):
            with distpool.get_context("fork").Pool(2) as pool:
                results = [pool.apply_async(exit_sometimes, [value]) for value in range(200)]
                for value, result in enumerate(results):
                    try:
                        assert result.get(20) == value
                    except WorkerDied:
                        assert value % 50 == 7
        print("done")
"""


def test_many_deaths_among_many_calls_lose_just_the_calls_that_died(tmp_path):
    assert output_of(tmp_path, DYING_WORKERS) == "done\n"


@pytest.mark.parametrize("chunksize", [1, 10])
def test_a_worker_that_exits_in_a_chunk_fails_the_map_when_the_others_have_ended(pool, chunksize):
    items = [(value, 55) for value in range(100)]
    result = pool.starmap_async(calls.exit_at, items, chunksize=chunksize)
    with pytest.raises(WorkerDied, match="exited with code 7"):
        result.get(LIMIT_S)
    assert not result.successful()
    assert pool.starmap_async(calls.exit_at, [(value, -1) for value in range(100)], chunksize=chunksize).get(
        LIMIT_S
    ) == list(range(100))


def test_imap_goes_on_after_a_lost_call(pool):
    results = pool.imap(kill_for_three, range(10))
    got = []
    for _ in range(10):
        try:
            got.append(results.next(LIMIT_S))
        except WorkerDied:
            got.append("lost")
    assert got == [0, 1, 2, "lost", 4, 5, 6, 7, 8, 9]


def kill_for_three(value: int) -> int:
    if value == 3:
        calls.kill_oneself()
    return value


def test_workers_that_die_again_and_again_are_replaced(pool):
    for _ in range(20):
        with pytest.raises(WorkerDied):
            pool.apply_async(calls.kill_oneself).get(LIMIT_S)
    assert pool.apply_async(calls.square, [5]).get(LIMIT_S) == 25


def test_idle_workers_that_are_killed_are_replaced(pool):
    before = pids(pool)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    assert until(lambda: len(pids(pool) - before) == 2)
    assert pool.map_async(calls.square, range(50), chunksize=1).get(LIMIT_S) == [value * value for value in range(50)]


def test_a_stopped_worker_does_not_hold_up_the_others(pool):
    """Its calls that it has not begun are taken back and given to the other."""
    stopped = psutil.Process(min(pids(pool)))
    stopped.suspend()
    try:
        results = [pool.apply_async(calls.square, [value]) for value in range(50)]
        assert until(lambda: sum(result.ready() for result in results) >= 49), "the stopped one may have begun a call"
    finally:
        stopped.resume()
    assert [result.get(LIMIT_S) for result in results] == [value * value for value in range(50)]


def test_results_that_were_finished_before_a_death_are_kept(tmp_path):
    with distpool.get_context("fork").Pool(1) as pool:
        pool.map(calls.square, range(5000), chunksize=1)
        finished = pool.map_async(calls.square, range(100), chunksize=1)
        lost = pool.apply_async(calls.kill_oneself)
        assert finished.get(LIMIT_S) == [value * value for value in range(100)]
        with pytest.raises(WorkerDied):
            lost.get(LIMIT_S)
    pool.join()


def test_an_executor_breaks_as_the_standard_one_does():
    with distpool.futures.ProcessPoolExecutor(2, mp_context=distpool.get_context("fork")) as executor:
        assert executor.submit(calls.square, 3).result(LIMIT_S) == 9
        lost = executor.submit(calls.kill_oneself)
        with pytest.raises(distpool.futures.BrokenProcessPool, match="terminated abruptly"):
            lost.result(LIMIT_S)
        with pytest.raises(distpool.futures.BrokenProcessPool):
            executor.submit(calls.square, 3)


def fail_to_start() -> None:
    raise ValueError("no licence")


def test_a_pool_whose_initializer_fails_says_why_in_words():
    with distpool.get_context("fork").Pool(2, fail_to_start) as pool:
        with pytest.raises(PoolBroken, match="before it was ready") as caught:
            pool.apply_async(calls.square, [2]).get(LIMIT_S)
        assert "ValueError: no licence" in str(caught.value)
        assert str(caught.value).replace("\n", "").isprintable(), "bytes of a message are no words"


# ---- strange errors must not kill a worker


class NoRepr:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __reduce__(self) -> str:
        raise TypeError("no pickle")


class TextExits(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


def raise_for(case: str) -> None:
    raise {
        "a file name that is no text": ValueError("cannot read " + os.fsdecode(b"\xff")),
        "an argument without a repr": ValueError(NoRepr()),
        "a text that exits": TextExits(),
    }[case]


@pytest.mark.parametrize("case", ["a file name that is no text", "an argument without a repr", "a text that exits"])
def test_a_strange_exception_does_not_kill_its_worker(pool, case):
    before = pids(pool)
    with pytest.raises(Exception) as caught:
        pool.apply_async(raise_for, [case]).get(LIMIT_S)
    assert not isinstance(caught.value, WorkerDied)
    assert pids(pool) == before


# ---- few descriptors

FEW_DESCRIPTORS = """
    import resource, time
    import distpool
    from tests.runtime.calls import large

    if __name__ == "__main__":
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        with distpool.get_context("fork").Pool(2) as pool:
            result = pool.map_async(large, [100_000] * 1500, chunksize=1)
            print(sum(map(len, result.get(20))))
            print(sum(pool.map(len, [bytes(100_000)] * 300, chunksize=1)))
"""


def test_large_results_and_arguments_need_few_descriptors(tmp_path):
    assert output_of(tmp_path, FEW_DESCRIPTORS).split() == ["150000000", "30000000"]


# ---- a full socket

FULL_SOCKET = """
    import os, time
    import msgspec
    import distpool, distpool.config
    from distpool.logic.leases import LeaseState
    from distpool.transport import pairs

    def later(value):
        time.sleep(0.01)  # long enough for both workers to have a part in it
        return -value

    def wait_for(path):
        while not os.path.exists(path):
            time.sleep(0.001)

    def block(path):
        open(path + " has begun", "w").close()
        wait_for(path)

    if __name__ == "__main__":
        pairs.SOCKET_BYTES = 70_000  # as if the system allowed no more
        # However slow the machine is, many calls are sent ahead, and stay with a blocked worker until one is free.
        msgspec.structs.force_setattr(distpool.config.SETTINGS, "work_ahead_s", 60.0)
        msgspec.structs.force_setattr(distpool.config.SETTINGS, "recall_after_s", 60.0)
        with distpool.get_context("fork").Pool(2) as pool:
            pool.map(len, [bytes(300)] * 100, chunksize=1)  # calls are short
            leases = pool._workers._group.leases.values()
            blockers = []
            for path in ("first", "second"):  # one for each worker, and none that was given to the other first
                while [lease.state for lease in leases] != [LeaseState.READY] * 2:
                    time.sleep(0.001)
                blockers.append(pool.apply_async(block, [path]))
                wait_for(path + " has begun")
            lanes = pool._workers._session.loop.lanes.values()
            results = []
            give_up_at = time.monotonic() + 15
            while time.monotonic() < give_up_at and not all(lane.has_unsent() for lane in lanes):
                results.append(pool.apply_async(len, [bytes(8_000)]))
                time.sleep(0.0005)
            print(all(lane.has_unsent() for lane in lanes))
            # The function is new to both workers, and its calls are taken back before they were sent.
            results += [pool.apply_async(later, [-8_000]) for _ in range(20)]
            open("first", "w").close()
            print({result.get(15) for result in results})
            open("second", "w").close()
            for blocker in blockers:
                blocker.get(15)
            print(set(pool.map(later, [1] * 50, chunksize=1)))
"""


def test_a_function_reaches_a_worker_whose_socket_was_full_when_it_was_first_called(tmp_path):
    assert output_of(tmp_path, FULL_SOCKET).splitlines() == ["True", "{8000}", "{-1}"]
