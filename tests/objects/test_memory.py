"""How much memory it takes, seen from the system: one array for many readers, and nothing more after many rounds."""

import gc
import os

import numpy as np
import psutil

import distpool
from distpool.objects.stores import home as own_home
from tests.objects import tasks
from tests.runtime.programs import output_of

MIB = 1 << 20


def store_pages():
    return os.fstat(own_home().memory.descriptor).st_blocks * 512


def descriptors():
    return len(os.listdir("/proc/self/fd"))


# In a program of its own: what a test run has in memory is copied little by little by whatever was forked from it.
READERS = """
    import time
    import numpy as np
    import psutil
    import distpool

    def proportional_bytes():
        # PSS of this process and all below it: pages that several share are counted once. They stand still meanwhile:
        # one that maps the array between two readings would be counted on top of those that were read before it.
        below = psutil.Process().children(recursive=True)
        try:
            for process in below:
                process.suspend()
            return sum(process.memory_full_info().pss for process in [psutil.Process(), *below])
        finally:
            for process in below:
                process.resume()

    def total_slowly(array, seconds):
        time.sleep(seconds)
        return float(array.sum())

    if __name__ == "__main__":
        array = np.ones(100 * 2**20 // 8)
        with distpool.get_context("fork").Pool(4) as pool:
            pool.starmap(total_slowly, [(np.ones(10), 0.01)] * 16, chunksize=1)
            idle = proportional_bytes()
            result = pool.starmap_async(total_slowly, [(array, 0.03)] * 64, chunksize=1)
            most = 0
            while not result.ready():
                most = max(most, proportional_bytes())
                time.sleep(0.02)
            assert result.get() == [array.sum()] * 64
        print((most - idle) / array.nbytes)
"""


def test_64_calls_on_one_array_take_the_memory_of_one(tmp_path):
    assert 0.9 < float(output_of(tmp_path, READERS)) < 1.2


def test_ten_thousand_rounds_end_where_they_began():
    with distpool.get_context("fork").Pool(2) as pool:
        children = [psutil.Process(worker.pid) for worker in pool._pool]

        def rounds(count):
            for number in range(count):
                value = np.full(10_000 + number % 50 * 500, float(number))
                ref = distpool.put(value)
                assert distpool.get(ref)[-1] == number
                if number % 5 == 0:
                    assert pool.map(tasks.total, [ref, value]) == [value.sum()] * 2
                if number % 50 == 0:
                    assert pool.apply(tasks.give_back, (value,))[0] == number
                    distpool.release(pool.apply(tasks.put, (20_000, 1.0)))

        def taken():
            gc.collect()
            processes = [psutil.Process(), *children]
            return descriptors(), [process.memory_info().rss / MIB for process in processes]

        rounds(1000)
        before = taken()
        rounds(10_000)
        after = taken()
        assert own_home().stats().objects == 0
        assert store_pages() == own_home().stats().warm_bytes < 64 * MIB
        assert after[0] == before[0]
        for rss_before, rss_after in zip(before[1], after[1], strict=True):
            assert rss_after < rss_before + 12
        own_home().cool()
        assert store_pages() == 0
