"""A head that is gone for good: who has workers goes on, and nobody waits for ever."""

import pytest

from distpool import Pool
from distpool.errors import PoolBroken
from tests.cluster import tasks
from tests.cluster.conftest import use

LIMIT_S = 3.0
WAIT_S = 20.0


def test_who_has_workers_goes_on_and_who_has_none_is_told_so(processes, monkeypatch):
    limit = {"DISTPOOL_HEAD_GONE_LIMIT": f"{LIMIT_S:g}s"}
    monkeypatch.setenv(*next(iter(limit.items())))
    head = processes.start_head()
    used = processes.start_node("used", "--cpus", "2", **limit)
    processes.until(lambda: processes.nodes() == {"used"})
    use(processes, monkeypatch)
    with Pool(2) as pool:
        processes.until(lambda: len(set(pool.map(tasks.where_slowly, [0.05] * 4, chunksize=1))) == 2)
        idle = processes.start_node("idle", "--cpus", "1", **limit)
        processes.until(lambda: processes.nodes() == {"used", "idle"})
        head.kill()
        head.wait()
        without_workers = Pool(1)
        result = without_workers.map_async(tasks.square, range(3))
        with pytest.raises(PoolBroken, match=rf"the head at tcp://.* was not heard of for {LIMIT_S:g} s") as caught:
            result.get(WAIT_S)
        assert "this pool has no worker, and gets none" in str(caught.value)
        without_workers.close()
        without_workers.join()
        assert idle.wait(WAIT_S) == 1
        assert "was not heard of for" in processes.said("idle")
        assert pool.map(tasks.square, range(10)) == [x * x for x in range(10)]
        assert used.poll() is None
        # One that is closed does not wait for what it has asked of a head that does not answer.
        later = Pool(1)
        later.close()
        later.join()
    assert used.wait(WAIT_S) == 1, "nobody uses it any more"
