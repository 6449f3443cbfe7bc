"""Tasks whose workers die, whose calls fail or take too long: what is told of it, and what runs again."""

import pytest

import distpool

from . import functions

pytestmark = pytest.mark.usefixtures("own_program")


def test_a_lost_call_fails_with_the_death_of_its_worker_and_others_do_not():
    others = [functions.identity.remote(number) for number in range(20)]
    with pytest.raises(distpool.WorkerDied, match="SIGKILL") as caught:
        distpool.get(functions.die.remote())
    assert caught.value.call == "die"
    assert distpool.get(others) == list(range(20))


def test_it_is_named_in_messages_as_its_options_say():
    with pytest.raises(distpool.WorkerDied) as caught:
        distpool.get(distpool.remote(name="the end")(lambda: functions.die.__wrapped__()).remote())
    assert "the end" in repr(functions.identity.options(name="the end").remote(1))
    assert "while it ran" in str(caught.value)


def test_a_call_is_run_again_after_a_death_if_it_may(lines):
    assert distpool.get(functions.die_at_first.options(retries=1).remote(lines.path)) == "done"
    assert lines() == ["run"] * 2


@pytest.mark.parametrize(("kinds", "runs"), [(True, 3), ([OSError], 3), ([KeyError], 1), (False, 1)])
def test_a_call_is_run_again_after_exceptions_of_these_kinds(lines, kinds, runs):
    ref = functions.fail_at_first.options(retries=2, retry_exceptions=kinds).remote(lines.path, 2)
    if runs == 3:
        assert distpool.get(ref) == "done"
    else:
        with pytest.raises(OSError, match="not yet"):
            distpool.get(ref)
    assert lines() == ["run"] * runs


def test_deaths_and_exceptions_count_together(lines):
    ref = functions.die_at_first.options(retries=1, retry_exceptions=True).remote(lines.path)
    assert distpool.get(ref) == "done"
    with pytest.raises(OSError, match="not yet"):
        distpool.get(functions.fail_at_first.options(retries=1, retry_exceptions=True).remote(lines.path, 9))
    assert lines() == ["run"] * 4


def test_a_call_over_its_time_limit_is_ended():
    with pytest.raises(distpool.CallTimeout, match=r"time limit of 0\.2 s"):
        distpool.get(distpool.remote(timeout=0.2)(functions.run_until_interrupted.__wrapped__).remote("/dev/null"))
