"""Functions on a thread of their own: in their order, one at a time, and the thread ends with the last."""

import threading

from distpool.runtime.aside import Aside
from tests.runtime.programs import until


def test_functions_run_in_their_order_on_one_thread_which_ends_with_them():
    aside = Aside()
    gate, ran = threading.Event(), []

    def note(number):
        gate.wait(20)
        ran.append((number, threading.current_thread()))

    for number in range(100):
        aside.run(lambda number=number: note(number))
    assert ran == []
    gate.set()
    assert until(lambda: len(ran) == 100)
    assert [number for number, _ in ran] == list(range(100))
    (thread,) = {thread for _, thread in ran}
    thread.join(20)
    aside.run(lambda: note(100))
    assert until(lambda: len(ran) == 101)
    assert ran[-1][1] is not thread
    ran[-1][1].join(20)
