"""23 faults, each on every class of pool and under every start method: no hang, nothing else lost, the right error."""

import pytest

from distpool.errors import WorkerDied
from distpool.futures import BrokenProcessPool

from .cell import BEHIND, KINDS, METHODS, Ended, Subject, Verdict, run_cell
from .faults import FAULTS, Fault

LIMIT_S = 20.0
ONCE_EACH = {"beside": 1, **{f"square {number}": 1 for number in (*range(BEHIND), 9)}}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_harms_the_call_that_it_belongs_to_and_no_other(fault, kind, method, tmp_path):
    with Subject(kind, method) as subject:
        verdict = run_cell(subject, fault, tmp_path, LIMIT_S)
    assert type(verdict.faulty.error) is fault.seen_by(kind), verdict.faulty
    if kind == "ProcessPoolExecutor" and fault.breaks:
        require_standard_break(verdict)
    else:
        require_unharmed(verdict)
        require_words(fault, verdict.faulty.error)


def require_unharmed(verdict: Verdict) -> None:
    assert verdict.beside == Ended(value="beside")
    assert verdict.behind == [Ended(value=number * number) for number in range(BEHIND)]
    assert verdict.fresh == Ended(value=81)
    assert verdict.begun == ONCE_EACH


def require_standard_break(verdict: Verdict) -> None:
    """All pending futures fail at once, and the executor takes no more calls."""
    assert isinstance(verdict.beside.error, BrokenProcessPool)
    for number, call in enumerate(verdict.behind):
        assert isinstance(call.error, BrokenProcessPool) or call == Ended(value=number * number)
    assert isinstance(verdict.fresh.error, BrokenProcessPool)
    assert verdict.ran_twice() == []


def require_words(fault: Fault, error: BaseException) -> None:
    """A death is a broken pool to those who catch that; every other error of a worker has its remote traceback."""
    if fault.seen is WorkerDied:
        assert isinstance(error, BrokenProcessPool)
    elif fault.function.__name__.startswith(("raise", "recurse", "exhaust", "exit", "be_")):
        assert fault.function.__name__ in str(error.__cause__)
