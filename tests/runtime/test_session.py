"""The session: pools are opened and ended by several threads and by callbacks, and none waits for others' calls."""

import signal
import threading
import time

import psutil
import pytest

import distpool
from distpool.futures import ProcessPoolExecutor

from .calls import square

LIMIT_S = 20.0


def test_a_pool_is_opened_while_another_thread_waits_for_a_long_call():
    with distpool.Pool(1) as busy:
        waiting = threading.Thread(target=lambda: busy.apply(time.sleep, (1.0,)))
        waiting.start()
        while not busy._workers._group.outstanding:
            time.sleep(0.001)
        began_at = time.monotonic()
        with distpool.Pool(1) as other:
            assert other.apply_async(square, (3,)).get(LIMIT_S) == 9
        assert time.monotonic() - began_at < 0.9, "it had to wait for a call of another pool"
        waiting.join(LIMIT_S)


def test_a_callback_opens_and_ends_a_pool():
    results = []
    called = threading.Event()

    def callback(value):
        with distpool.Pool(1) as inner:
            results.append(inner.apply_async(square, (value,)).get(LIMIT_S))
        called.set()

    with distpool.Pool(1) as pool:
        pool.apply_async(square, (2,), callback=callback)
        assert called.wait(LIMIT_S)
        assert pool.apply_async(square, (5,)).get(LIMIT_S) == 25
    assert results == [16]


def test_threads_open_and_end_pools_at_the_same_time():
    failures = []

    def work(number):
        try:
            for _ in range(3):
                with distpool.Pool(1) as pool:
                    assert pool.map_async(square, range(5)).get(LIMIT_S) == [0, 1, 4, 9, 16]
                with ProcessPoolExecutor(1) as executor:
                    assert executor.submit(square, number).result(LIMIT_S) == number * number
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3 * LIMIT_S)
    assert not any(thread.is_alive() for thread in threads)
    assert failures == []


def test_the_thread_ends_with_the_last_pool_also_where_nobody_waits_for_it():
    executor = ProcessPoolExecutor(1)
    future = executor.submit(square, 3)
    executor.shutdown(wait=False)
    assert future.result(LIMIT_S) == 9
    deadline = time.monotonic() + LIMIT_S
    while any(thread.name == "distpool" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_callback_that_exits_harms_nobody(capsys):
    with distpool.Pool(1) as pool:
        first = pool.apply_async(square, (3,), callback=lambda value: exit(value))
        assert first.get(LIMIT_S) == 9
        assert pool.apply_async(square, (4,)).get(LIMIT_S) == 16
    assert "SystemExit: 9" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_pool_survives_the_hang_up_that_its_driver_ignores(method):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with distpool.get_context(method).Pool(1) as pool:
            pool.apply_async(square, (3,)).get(LIMIT_S)
            worker = psutil.Process(pool._pool[0].pid)
            for process in (worker.parent(), worker):
                process.send_signal(signal.SIGHUP)
            assert pool.apply_async(square, (4,)).get(LIMIT_S) == 16
    finally:
        signal.signal(signal.SIGHUP, before)
