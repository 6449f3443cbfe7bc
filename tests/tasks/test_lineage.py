"""What is remembered of a task whose value may have to be made again."""

from types import SimpleNamespace

import numpy as np

from distpool.logic.calls import CallOptions
from distpool.objects.claims import Claim, ClaimedPickle
from distpool.objects.promises import promise_for
from distpool.objects.stores import home
from distpool.protocol.messages import OutcomeKind
from distpool.runtime.arguments import Arguments
from distpool.runtime.main_view import CallersMain
from distpool.serialization.remote_errors import decode_failure
from distpool.tasks.calls import Prepared, RepeatedTask, Task
from distpool.tasks.lineage import TaskLineage


def lineage_of(pickled=b"0123456789", task=Task, retries=3, **more):
    made = task(SimpleNamespace(), (promise_for("load"),), **more)
    return made, TaskLineage(made, Prepared(0, pickled, CallOptions(retries=retries, priority=1), "load"), [])


def test_what_may_not_be_made_again_says_of_which_task_on_which_node_and_what_helps():
    _, lineage = lineage_of()
    lineage.is_remembered("alpha", lambda number: None)
    kind, payload = lineage.gone()
    assert kind == OutcomeKind.ERROR
    text = str(decode_failure(payload)[0])
    assert "the value of load, which lay on node 'alpha' last, is gone" in text
    assert "load.options(retries=...)" in text


def test_its_size_is_that_of_its_arguments_and_of_what_these_need_of_the_store():
    _, small = lineage_of()
    pickled = Arguments(CallersMain(), iter(range(1, 9)), {}).pickle_arguments(1, None, (np.ones(100_000),), {})
    assert type(pickled) is ClaimedPickle
    _, large = lineage_of(pickled)
    assert small.size() == 1024 + 10
    assert small.objects() == []
    assert large.size() == 1024 + len(pickled.pickled)
    ((key, size),) = large.objects()
    assert key[0] == home().id
    assert size >= 800_000


def test_what_is_remembered_does_not_keep_objects_in_memory_as_the_call_that_is_sent_does():
    claim = Claim(home(), [], [])
    pickled = ClaimedPickle(b"", claim)
    _, lineage = lineage_of(pickled)
    again = lineage._call_again().pickled
    assert claim is not again.claim
    assert again.claim is not lineage._call_again().pickled.claim


def test_a_task_that_is_repeated_after_exceptions_counts_its_own_retries():
    task, lineage = lineage_of(task=RepeatedTask, retried=(OSError,), retries_left=2)
    assert lineage.retries_after(task, 0) == 2
    lineage.retries_left = 1
    again = lineage.new_task(task.promises)
    assert (again.retried, again.retries_left, again.lineage) == ((OSError,), 1, lineage)
    assert lineage._call_again().options.retries == 0


def test_it_goes_before_all_others_with_what_is_left_of_its_retries():
    task, lineage = lineage_of()
    assert lineage.retries_after(task, 2) == 2
    lineage.retries_left = 1
    options = lineage._call_again().options
    assert options.retries == 1
    assert options.priority > 1 << 40


def test_its_end_is_told():
    told = []
    _, lineage = lineage_of()
    number = id(lineage)
    lineage.is_remembered("alpha", told.append)
    del _, lineage
    assert told == [number]
