"""Which tasks have started which: what is cancelled with a task."""

import pytest

from distpool.logic.promises import Promise
from distpool.protocol.messages import OutcomeKind
from distpool.tasks.calls import Task
from distpool.tasks.children import Children

CANCELLED = (int(OutcomeKind.CANCELLED), b"")


class PretendedWorkers:
    def __init__(self):
        self.cancelled = []

    def cancel(self, task, *, force):
        self.cancelled.append((task, force))


def started(workers, number=1, values=1):
    task = Task(workers, tuple(Promise(number + at, "f") for at in range(values)))
    for promise in task.promises:
        promise.call = task
    return task


@pytest.fixture
def workers():
    return PretendedWorkers()


@pytest.mark.parametrize("force", [False, True])
def test_all_below_are_cancelled_once(workers, force):
    children, (parent, child, grandchild) = Children(), [started(workers, number) for number in range(3)]
    assert children.note(parent.promises[0], child.promises[0]) is None
    assert children.note(child.promises[0], grandchild.promises[0]) is None
    for _ in range(2):
        children.cancel(parent.promises[0], force=force, recursive=True)
    assert workers.cancelled == [(task, force) for task in (parent, child, grandchild)]


def test_without_those_below_only_one_is(workers):
    children, (parent, child) = Children(), [started(workers, number) for number in range(2)]
    children.note(parent.promises[0], child.promises[0])
    children.cancel(parent.promises[0], force=False, recursive=False)
    assert workers.cancelled == [(parent, False)]
    assert children.note(parent.promises[0], child.promises[0]) is None


def test_any_of_several_values_means_all(workers):
    children, parent, child = Children(), started(workers, 1, values=3), started(workers, 9)
    children.note(parent.promises[0], child.promises[0])
    children.cancel(parent.promises[2], force=False, recursive=True)
    assert workers.cancelled == [(parent, False), (child, False)]
    assert [promise.outcome for promise in parent.promises] == [CANCELLED] * 3


@pytest.mark.parametrize("force", [False, True])
def test_what_comes_after_its_parent_was_cancelled_is_not_wanted(workers, force):
    children, parent = Children(), started(workers)
    children.cancel(parent.promises[0], force=force, recursive=True)
    assert children.note(parent.promises[0], Promise(2, "g")) is force


def test_what_comes_while_its_parent_is_being_cancelled_is_cancelled(workers):
    children, parent, child = Children(), started(workers), started(workers, 2)

    class Late:
        def ended(self, promise):
            children.note(promise, child.promises[0])

    parent.promises[0].watch(Late())
    children.cancel(parent.promises[0], force=False, recursive=True)
    assert workers.cancelled == [(parent, False), (child, False)]


def test_one_that_is_not_there_yet_ends(workers):
    children, parent, child = Children(), started(workers), Promise(2, "g")
    children.note(parent.promises[0], child)
    children.cancel(parent.promises[0], force=False, recursive=True)
    assert child.outcome == CANCELLED


def test_one_that_has_ended_is_left_with_all_below(workers):
    children, (parent, child) = Children(), [started(workers, number) for number in range(2)]
    children.note(parent.promises[0], child.promises[0])
    parent.end((int(OutcomeKind.VALUE), b""))
    children.cancel(parent.promises[0], force=False, recursive=True)
    assert workers.cancelled == []
