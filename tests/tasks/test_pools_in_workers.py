"""Tasks and actors of workers of a pool which a worker has made for itself: they run in the session of that worker."""

import signal

import numpy as np
import psutil
import pytest

import distpool
from distpool.objects.promises import number_apart, promise_for
from tests.runtime.programs import left_of, output_of, until

from . import functions

pytestmark = pytest.mark.usefixtures("own_program")

METHODS = ["fork", "forkserver", "spawn"]
LARGE = 100_000
GONE_WITHIN_S = 3.0


@distpool.remote
class Counter:
    def __init__(self, start=0):
        self.value = start

    def count(self, by=1):
        self.value += by
        return self.value

    def many(self, number):
        yield from range(number)


@distpool.remote
def called(function, *args):
    return function(*args)


@distpool.remote
def squares(number):
    for item in range(number):
        yield item * item


def in_pool_of_a_worker(method, function, *args):
    """What it gives in a worker's worker."""
    with distpool.get_context(method).Pool(1) as pool:
        return pool.apply(within, (method, function, *args))


def within(method, function, *args):
    with distpool.get_context(method).Pool(2) as pool:
        return pool.apply(function, args)


def tasks_of_all_kinds():
    refs = [functions.add.remote(number, 1) for number in range(20)]
    array = functions.zeros.remote(LARGE)
    assert distpool.get(refs) == list(range(1, 21))
    assert distpool.get(functions.total.remote(array)) == 0.0
    assert distpool.wait(refs, num_returns=20)[1] == []
    assert distpool.get(functions.kinds.remote(distpool.put(np.ones(LARGE)), [array])) == ["ndarray", "list"]
    assert [distpool.get(ref) for ref in squares.remote(40)] == [item * item for item in range(40)]
    with pytest.raises(ValueError, match="no"):
        distpool.get(functions.add.remote(functions.fail.remote()))
    with pytest.raises(distpool.WorkerDied):
        distpool.get(functions.die.remote())
    assert distpool.get(called.remote(lambda: distpool.get(functions.add.remote(3, 4)))) == 7


def actors_of_all_kinds():
    counter = Counter.options(name="counter").remote(5)
    assert distpool.get(counter.count.remote()) == 6
    assert distpool.get(distpool.get_actor("counter").count.remote(functions.add.remote(1, 1))) == 8
    assert distpool.get(called.remote(lambda: distpool.get(counter.count.remote()))) == 9
    assert distpool.get(list(counter.many.remote(3))) == [0, 1, 2]
    distpool.kill(counter)
    with pytest.raises(distpool.ActorDied):
        distpool.get(counter.count.remote())
    with pytest.raises(ValueError, match="no actor that lives has the name 'counter'"):
        distpool.get_actor("counter")


def tasks_and_actors_of_all_kinds():
    tasks_of_all_kinds()
    actors_of_all_kinds()
    return "done"


@pytest.mark.parametrize("method", METHODS)
def test_they_start_tasks_and_actors(method):
    assert in_pool_of_a_worker(method, tasks_and_actors_of_all_kinds) == "done"


def test_an_executor_of_a_task_does_so_too():
    def outer():
        with distpool.Executor(2) as executor:
            return list(executor.map(lambda number: distpool.get(functions.add.remote(number, 1)), range(4)))

    assert distpool.get(called.remote(outer)) == [1, 2, 3, 4]


def test_refs_and_handles_are_good_in_the_worker_that_has_made_the_pool():
    def start(counter):
        ours = Counter.remote(100)
        items = squares.remote(2)
        assert distpool.get([ours.count.remote(), *items]) == [101, 0, 1]
        return functions.add.remote(1, 2), functions.zeros.remote(LARGE), ours, items.completed()

    def outer():
        with distpool.get_context("fork").Pool(1) as pool:
            ref, array, counter, completed = pool.apply(start, (None,))
            of_program = functions.add.remote(2, 2)
            ready, _ = distpool.wait([ref, of_program, completed], num_returns=3)
            assert len(ready) == 3
            assert distpool.get([ref, of_program, completed]) == [3, 4, 2]
            assert distpool.get(array).shape == (LARGE,)
            assert distpool.get(counter.count.remote()) == 102
            assert pool.apply(lambda counter: distpool.get(counter.count.remote()), (counter,)) == 103
            assert ref.result(20) == 3
            return ref

    ref = distpool.get(called.remote(outer))
    with pytest.raises(distpool.InvalidRef, match="belongs to another process"):
        distpool.get(ref)


def test_refs_of_the_program_are_waited_for_there_and_are_arguments_of_tasks():
    def use(refs):
        assert distpool.get(refs[0]) == 3
        assert distpool.get(functions.add.remote(*refs[:2])) == 7
        assert distpool.get(functions.total.remote(refs[2])) == 0.0
        failed = functions.add.remote(refs[3])
        assert isinstance(failed.exception(), ValueError)
        return distpool.get(refs[2]).shape

    def outer():
        refs = [functions.add.remote(1, 2), functions.add.remote(2, 2), functions.zeros.remote(LARGE)]
        refs.append(functions.fail.remote())
        with distpool.get_context("fork").Pool(1) as pool:
            assert pool.apply(np.shape, (refs[2],)) == (LARGE,)
            return pool.apply(use, (refs,))

    assert distpool.get(called.remote(outer)) == (LARGE,)


def test_an_actor_of_the_program_is_called_in_the_worker_and_not_below_it():
    def call(counter):
        with pytest.raises(
            distpool.InvalidRef, match=r"Counter.count was called by a worker of a pool that worker \d+"
        ):
            distpool.get(counter.count.remote())
        distpool.kill(counter)
        return distpool.get(functions.add.remote(1, 1))

    def outer(counter):
        with distpool.get_context("fork").Pool(1) as pool:
            return pool.apply(call, (counter,))

    counter = Counter.remote()
    assert distpool.get(counter.count.remote()) == 1
    assert distpool.get(called.remote(outer, counter)) == 2
    with pytest.raises(distpool.ActorDied, match="killed"):
        distpool.get(counter.count.remote())


def test_tasks_are_cancelled_by_the_process_that_has_a_ref(lines, tmp_path):
    def start():
        return [functions.run_until_interrupted.remote(lines.path), functions.wait_for.remote("/nowhere")]

    def cancel_all(refs):
        for ref in refs:
            distpool.cancel(ref, force=True)
            assert isinstance(ref.exception(), distpool.TaskCancelled)

    def outer(gate):
        of_program = functions.wait_for.remote(gate)
        with distpool.get_context("fork").Pool(1) as pool:
            mine, other = pool.apply(start)
            functions.wait_until(lambda: lines() == ["begun"])
            distpool.cancel(mine)
            functions.wait_until(lambda: lines() == ["begun", "interrupted"])
            pool.apply(cancel_all, ([other, of_program],))
            assert isinstance(mine.exception(), distpool.TaskCancelled)
        return "done"

    assert distpool.get(called.remote(outer, str(tmp_path / "gate"))) == "done"


def test_placement_groups_are_the_programs():
    def ask():
        with pytest.raises(RuntimeError, match="placement groups are the program's, and only its own workers"):
            distpool.placement_group([{"CPU": 1}])

    in_pool_of_a_worker("fork", ask)


def below_with_a_task(path):
    """Stays in a task of a pool's worker's worker."""

    def below():
        distpool.get([functions.run_until_interrupted.remote(path), Counter.remote().count.remote()])

    within("fork", below)


@pytest.mark.parametrize("how", ["killed", "terminated"])
def test_they_end_with_the_worker_that_has_made_the_pool(lines, how):
    with distpool.get_context("fork").Pool(1) as pool:
        worker = psutil.Process(pool._pool[0].pid)
        result = pool.apply_async(below_with_a_task, (lines.path,))
        assert until(lambda: lines() == ["begun"])
        processes = worker.children(recursive=True)
        assert len(processes) >= 5, "of the pool and of the task a template each, and workers"
        if how == "killed":
            worker.send_signal(signal.SIGKILL)
            with pytest.raises(distpool.WorkerDied):
                result.get()
        else:
            pool.terminate()
        assert until(lambda: not left_of(processes), GONE_WITHIN_S), left_of(processes)
    pool.join()


FORKS_AFTER_A_QUESTION = """
    import os
    import distpool

    def add(one, other):
        return one + other

    def below(number):
        return distpool.get(distpool.remote(add).remote(number, 1))

    def outer():
        assert distpool.get(distpool.remote(add).remote(1, 1)) == 2
        with distpool.get_context("fork").Pool(2) as pool:
            return pool.map(below, range(4))

    if __name__ == "__main__":
        print(distpool.get(distpool.remote(outer).remote()))
"""


def test_a_pool_may_be_forked_by_a_worker_that_has_asked_its_program_something(tmp_path):
    assert output_of(tmp_path, FORKS_AFTER_A_QUESTION) == "[1, 2, 3, 4]\n"


def test_numbers_of_such_a_worker_are_its_own_and_fit_into_a_message():
    def some():
        number_apart()
        return [promise_for("some").number for _ in range(3)]

    first, second = distpool.get([called.remote(some), called.remote(some)])
    assert not {*first} & {*second}
    assert all(2**62 <= number < 2**63 for number in (*first, *second))


def test_to_wait_in_a_worker_takes_no_longer_than_it_says(lines):
    def wait():
        ref = functions.run_until_interrupted.remote(lines.path)
        functions.wait_until(lambda: lines() == ["begun"])
        asked = []
        above = type(ref.known().call)
        fetch = above.fetch
        above.fetch = lambda *asked_for: asked.append(asked_for[-1]) or fetch(*asked_for)
        waited = []
        from distpool.futures import completion

        plain_wait = completion.wait
        completion.wait = lambda fs, timeout: waited.append(timeout) or plain_wait(fs, timeout)
        with pytest.raises(TimeoutError, match=r"after 0.05 s 1 of 1 are not ready"):
            distpool.get(ref, timeout=0.05)
        above.fetch, completion.wait = fetch, plain_wait
        distpool.cancel(ref)
        return asked, waited

    assert distpool.get(called.remote(wait)) == ([0.05], [0.0])
