"""A death at every point of a call's life, one at a time: what becomes of that call, while the others notice nothing.

The random runs have many deaths at once; here is what exactly one must lead to.
"""

import pickle
import random

import pytest

from distpool.ids import FunctionId, GroupId
from distpool.logic.calls import SCALAR_BYTES, Bundle, CallOptions
from distpool.logic.group_plan import GroupPlan
from distpool.protocol.messages import CallMode, FunctionBlob, OutcomeKind
from tests.simulation.ledger import Handed, Point, Trap
from tests.simulation.world import World

SEEDS = 40
ITEMS = 4
PATIENCE_S = 10.0
FUNCTION = FunctionId(1)

VALUE, LOST = OutcomeKind.VALUE, OutcomeKind.LOST

# (point, items that have begun, outcome without a retry, how often each item has begun then and with a retry)
ITEM_POINTS = [
    (Point.NOT_READ, 0, VALUE, [1], [1]),
    (Point.NO_TOKEN, 0, VALUE, [1], [1]),
    (Point.NOT_UNPICKLED, 0, LOST, [0], [1]),
    (Point.RUNNING, 1, LOST, [1], [2]),
    (Point.NOT_WRITTEN, 1, LOST, [1], [2]),
    (Point.NOT_TOLD, 1, VALUE, [1], [1]),
    (Point.TOLD, 1, VALUE, [1], [1]),
]
CHUNK_POINTS = [
    (Point.NOT_READ, 0, VALUE, [1, 1, 1, 1], [1, 1, 1, 1]),
    (Point.NO_TOKEN, 0, VALUE, [1, 1, 1, 1], [1, 1, 1, 1]),
    (Point.NOT_UNPICKLED, 0, LOST, [0, 0, 0, 0], [1, 1, 1, 1]),
    (Point.FIRST_ITEM, 1, LOST, [1, 1, 1, 1], [2, 1, 1, 1]),
    (Point.LATER_ITEM, 2, LOST, [1, 1, 1, 1], [2, 2, 1, 1]),
    (Point.LATER_ITEM, 3, LOST, [1, 1, 1, 1], [2, 2, 2, 1]),
    (Point.LATER_ITEM, 4, LOST, [1, 1, 1, 1], [2, 2, 2, 2]),
    (Point.NOT_WRITTEN, 4, LOST, [1, 1, 1, 1], [2, 2, 2, 2]),
    (Point.NOT_TOLD, 4, VALUE, [1, 1, 1, 1], [1, 1, 1, 1]),
    (Point.TOLD, 4, VALUE, [1, 1, 1, 1], [1, 1, 1, 1]),
]


def run(seed, trap, *, is_chunk, retries, is_apart):
    """Seven calls for two workers, a trap under the fourth: all of them when all is over."""
    world = World(random.Random(seed), is_apart=is_apart)
    client = world.hosting.client
    client.functions[FUNCTION] = FunctionBlob(FUNCTION, b"", False)
    group = world.open(GroupId(1), GroupPlan(2), 0.0)
    items_s = [3e-4] * (ITEMS if is_chunk else 1)
    options = CallOptions(retries=retries)
    calls = [world.ledger.new_call(items_s, is_chunk=is_chunk, options=options) for _ in range(7)]
    calls[3].trap = trap
    handed = Handed(calls, lambda: frozenset({VALUE, LOST}), lambda: bool(group.reason), world.ledger, 0)
    mode = CallMode.CHUNK if is_chunk else CallMode.ITEM
    entries = [pickle.dumps(call.number) for call in calls]
    bundle = Bundle(FUNCTION, mode, entries, handed, 0, SCALAR_BYTES, options, chunksize=len(items_s))

    def hand_in():
        world.note_submitted(group.id, calls)
        client.submit(group, [bundle])
        client.close(group)

    world.at(world.now, lambda: world.hosting.mailbox.append(hand_in))
    world.run(PATIENCE_S)
    assert group.id in world.gone
    return calls


@pytest.mark.parametrize("retries", [0, 1])
@pytest.mark.parametrize(
    ("is_chunk", "point", "begun", "outcome", "times_begun", "with_retry"),
    [(False, *case) for case in ITEM_POINTS] + [(True, *case) for case in CHUNK_POINTS],
)
def test_one_death(is_chunk, point, begun, outcome, times_begun, with_retry, retries):
    deaths = 0
    for seed in range(SEEDS):
        trap = Trap(point, begun, 1)
        calls = run(seed, trap, is_chunk=is_chunk, retries=retries, is_apart=seed % 2 == 1)
        trapped = calls.pop(3)
        assert {call.outcome for call in calls} == {VALUE}
        assert {tuple(call.times_begun) for call in calls} == {(1,) * len(trapped.items_s)}
        if trap.times:
            assert trapped.outcome is VALUE  # The call was never at that point when its worker could die.
            continue
        deaths += 1
        assert trapped.outcome is (VALUE if retries else outcome)
        assert trapped.times_begun == (with_retry if retries else times_begun)
    assert deaths >= SEEDS // 10


def test_no_point_is_left_out():
    assert {case[0] for case in ITEM_POINTS + CHUNK_POINTS} == set(Point)
