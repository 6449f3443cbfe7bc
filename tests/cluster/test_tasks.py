"""Tasks whose workers are on two nodes."""

import pytest

import distpool
from tests.runtime.programs import until
from tests.tasks import functions

pytestmark = pytest.mark.usefixtures("two_nodes", "own_program")

LARGE = 400_000


@pytest.fixture
def own_program():
    yield
    distpool.shutdown()


def test_tasks_and_those_that_need_their_values_run_on_the_nodes():
    pids = set(distpool.get([functions.pid.remote() for _ in range(100)]))
    assert pids
    chain = functions.identity.remote(0)
    for _ in range(10):
        chain = functions.add.remote(chain, other=1)
    assert distpool.get(chain) == 10
    with pytest.raises(ValueError, match="no"):
        distpool.get(functions.add.remote(functions.fail.remote()))


def test_arrays_go_from_task_to_task():
    arrays = [functions.zeros.remote(LARGE) for _ in range(4)]
    assert distpool.get([functions.total.remote(array) for array in arrays]) == [0.0] * 4
    again = functions.identity.remote(arrays[0])
    assert distpool.get(again).shape == (LARGE,)
    put = distpool.put(distpool.get(arrays[1]))
    assert distpool.get(functions.kinds.remote(put, arrays[2], [arrays[3]])) == ["ndarray", "ndarray", "list"]
    back = distpool.get(functions.identity.remote([arrays[3]]))
    assert distpool.get(back[0]).shape == (LARGE,)


def test_a_task_that_runs_is_interrupted_and_ended(tmp_path):
    lines = tmp_path / "lines"
    ref = functions.run_until_interrupted.remote(str(lines))
    assert until(lines.exists)
    distpool.cancel(ref)
    assert until(lambda: "interrupted" in lines.read_text())
    lines.unlink()
    ref = functions.run_until_interrupted.remote(str(lines))
    assert until(lines.exists)
    distpool.cancel(ref, force=True)
    with pytest.raises(distpool.TaskCancelled):
        distpool.get(ref)
    assert distpool.get([functions.identity.remote(number) for number in range(50)]) == list(range(50))
