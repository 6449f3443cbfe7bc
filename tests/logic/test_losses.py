"""What a worker's death means for the call that it had begun: the decisions, the words, and both in a pool."""

import msgspec
import pytest

from distpool.ids import FunctionId, GroupId
from distpool.logic.calls import Bundle, CallOptions, Span
from distpool.logic.group import Group
from distpool.logic.group_plan import GroupPlan
from distpool.logic.losses import (
    Remainder,
    call_to_repeat,
    describe_call,
    describe_exit,
    loss_of,
    rest_of_chunk,
)
from distpool.logic.outbox import Outbox
from distpool.protocol.messages import CallMode, CallsDone, Death, FunctionBlob, LeaseLost, Loss, OutcomeKind
from tests.logic.pool_world import PoolWorld

KILLED = Death(4711, -9)
LOSS = (OutcomeKind.LOST, b"a loss")


class Sink:
    """Notes what it is given."""

    def __init__(self):
        self.delivered = []

    def begin(self):
        raise AssertionError("it was begun before it was lost")

    def put_back(self):
        raise AssertionError("it was begun")

    def deliver(self, first, outcomes):
        self.delivered.append((first, outcomes))


def span_of(mode=CallMode.CHUNK, *, retries=0, attempts=0, skip=0, at=1, first=10, sink=None, name=""):
    """Call `at` of a bundle of three."""
    bundle = Bundle(
        FunctionId(5),
        mode,
        [b"a", b"b", b"c"],
        sink or Sink(),
        first,
        77,
        CallOptions(timeout_s=3.0, retries=retries, priority=2),
        name,
        chunksize=4,
        begun=True,
        skip=skip,
        attempts=attempts,
    )
    return Span(bundle, at, at + 1)


def words_of(span, death=KILLED, name="f"):
    kind, payload = loss_of(span, death, name)
    assert kind == OutcomeKind.LOST
    return msgspec.msgpack.decode(payload, type=Loss).text


# What is run again --------------------------------------------------------------------------------------------------


def test_a_repeated_call_is_the_same_call_with_one_more_attempt():
    lost = span_of(retries=2, attempts=1, skip=3)
    again = call_to_repeat(lost)
    assert len(again) == 1
    bundle = again.bundle
    assert (bundle.entries, bundle.first, bundle.attempts, bundle.skip) == ([b"b"], 11, 2, 3)
    for field in ("function", "mode", "sink", "entry_bytes", "options", "name", "chunksize", "begun"):
        assert getattr(bundle, field) == getattr(lost.bundle, field)


@pytest.mark.parametrize(("retries", "attempts", "may_run"), [(0, 0, False), (1, 0, True), (1, 1, False), (3, 2, True)])
def test_a_call_is_repeated_as_often_as_its_caller_allows(retries, attempts, may_run):
    assert (call_to_repeat(span_of(retries=retries, attempts=attempts)) is not None) is may_run


@pytest.mark.parametrize("mode", [CallMode.CHUNK, CallMode.STAR_CHUNK])
def test_the_rest_of_a_chunk_leaves_out_what_had_begun_and_tells_the_loss_when_it_is_done(mode):
    sink = Sink()
    rest = rest_of_chunk(span_of(mode, sink=sink, skip=1), 2, LOSS)
    assert rest.bundle.skip == 3
    assert rest.bundle.begun
    assert rest.bundle.sink.begin()
    rest.bundle.sink.deliver(11, [(OutcomeKind.VALUE, b"what the rest gave")])
    assert sink.delivered == [(11, [LOSS])]


def test_when_the_rest_is_lost_too_its_rest_runs_and_the_first_loss_is_told():
    sink = Sink()
    rest = rest_of_chunk(span_of(sink=sink), 1, LOSS)
    rest_of_rest = rest_of_chunk(rest, 2, (OutcomeKind.LOST, b"a second loss"))
    assert rest_of_rest.bundle.skip == 3
    assert type(rest_of_rest.bundle.sink) is Remainder
    rest_of_rest.bundle.sink.deliver(11, [(OutcomeKind.VALUE, b"")])
    assert sink.delivered == [(11, [LOSS])]


@pytest.mark.parametrize("mode", [CallMode.CALL, CallMode.ITEM, CallMode.STAR])
def test_only_chunks_have_a_rest(mode):
    assert rest_of_chunk(span_of(mode), 2, LOSS) is None


def test_a_chunk_of_which_nothing_had_begun_has_no_rest_to_run():
    """Unpickling its arguments may be what ended the process; then it would end the next one."""
    assert rest_of_chunk(span_of(), 0, LOSS) is None


# Words --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exitcode", "words"),
    [
        (-9, "was killed by SIGKILL (signal 9)"),
        (-11, "was killed by SIGSEGV (signal 11)"),
        (-63, "was killed by signal 63"),
        (0, "exited with code 0"),
        (3, "exited with code 3"),
    ],
)
def test_an_exit_code_in_words(exitcode, words):
    assert describe_exit(exitcode) == words


@pytest.mark.parametrize(
    ("span", "items_begun", "words"),
    [
        (span_of(CallMode.CALL), 0, "f"),
        (span_of(CallMode.ITEM), 0, "f for item 11"),
        (span_of(CallMode.STAR), 9, "f for item 11"),
        (span_of(CallMode.CHUNK), 0, "f for the chunk of items from 44"),
        (span_of(CallMode.CHUNK), 1, "f for item 44"),
        (span_of(CallMode.CHUNK), 4, "f for item 47"),
        (span_of(CallMode.STAR_CHUNK, skip=2), 1, "f for item 46"),
        (span_of(CallMode.ITEM, name="lambda"), 0, "lambda for item 11"),
    ],
)
def test_a_call_in_words(span, items_begun, words):
    assert describe_call(span, "f", items_begun) == words


def test_a_call_whose_function_nobody_has_named():
    assert describe_call(span_of(CallMode.CALL), "") == "a call"


def test_a_loss_names_the_process_the_call_and_the_option_that_would_help():
    words = words_of(span_of(CallMode.ITEM))
    assert words.startswith("worker process 4711 was killed by SIGKILL (signal 9) while it ran f for item 11. ")
    assert "memory runs out" in words
    assert words.endswith("with_options(retries=1) allows it.")


def test_a_loss_after_retries_says_how_often_it_was_tried():
    words = words_of(span_of(CallMode.ITEM, retries=2, attempts=2))
    assert words.endswith("The call was begun 3 times.")
    assert "retries=1" not in words


@pytest.mark.parametrize(("peak", "words"), [(5 * 2**20, "peaked at 5 MiB."), (3 * 2**29, "peaked at 1.5 GiB.")])
def test_a_loss_tells_how_much_memory_the_process_had(peak, words):
    assert words in words_of(span_of(), Death(1, -9, peak))
    assert "memory peaked" not in words_of(span_of())


def test_a_loss_quotes_the_last_lines_on_stderr():
    words = words_of(span_of(), Death(1, -6, stderr="one\ntwo"))
    assert "\nIts last lines on stderr:\n    one\n    two\nThis is a crash in native code" in words


@pytest.mark.parametrize(
    ("exitcode", "words"),
    [(-11, "crash in native code"), (-15, "who sent the signal"), (3, "os._exit"), (0, "os._exit")],
)
def test_a_loss_says_where_to_look(exitcode, words):
    assert words in words_of(span_of(), Death(1, exitcode))


def test_a_loss_carries_what_is_known_of_the_death_and_of_the_call():
    death = Death(7, -9, 1000, 3, 2, "words")
    _, payload = loss_of(span_of(name="named"), death, "known")
    loss = msgspec.msgpack.decode(payload, type=Loss)
    assert (loss.call, loss.death) == ("named", death)


# In a pool ----------------------------------------------------------------------------------------------------------


def pool_with_workers(size, **options):
    world = PoolWorld(GroupPlan(size, **options), steal_after_s=1000.0)
    for _ in range(size):
        world.ready(world.grant())
    return world, list(world.workers.values())


def test_a_lost_call_with_a_retry_runs_again_before_those_that_wait():
    world, (dying, other) = pool_with_workers(2)
    world.submit(5, options=CallOptions(retries=1))
    world.begin(dying)
    world.die(dying)
    assert world.notes == ["worker process 4711 was killed by SIGKILL (signal 9); its call is run again (retry 1 of 1)"]
    world.run_one(other)
    world.run_one(other)
    assert other.held[0] == 0
    world.run_one(other)
    assert world.outcomes() == ["VALUE", None, "VALUE", "VALUE", None]


def test_a_call_is_lost_when_its_retries_are_used_up():
    world, workers = pool_with_workers(3)
    world.submit(1, options=CallOptions(retries=2))
    for left in (2, 1, 0):
        assert world.outcomes() == [None]
        (runner,) = [worker for worker in workers if worker.held and worker.lease in world.workers]
        world.begin(runner)
        world.die(runner)
        assert len(world.notes) == min(3 - left, 2)
    assert world.outcomes() == ["LOST"]
    assert "The call was begun 3 times." in world.calls[0].text


def test_an_executor_survives_a_death_that_only_costs_a_retry():
    world, (dying, other) = pool_with_workers(2, breaks=True)
    world.submit(2, options=CallOptions(retries=1))
    world.begin(dying)
    world.die(dying)
    assert world.outcomes() == [None, None]
    for _ in range(2):
        world.run_one(other)
    assert world.outcomes() == ["VALUE", "VALUE"]


def test_an_executor_is_broken_by_a_death_of_a_call_without_retries_left():
    world, (dying, other) = pool_with_workers(2, breaks=True)
    world.submit(1, options=CallOptions(retries=1))
    world.begin(dying)
    world.die(dying)
    world.begin(other)
    world.die(other)
    assert world.outcomes() == ["BROKEN"]


@pytest.mark.parametrize("begun", range(1, 5))
def test_the_items_of_a_chunk_that_had_not_begun_run_elsewhere_and_then_the_loss_is_told(begun):
    world, (dying, other) = pool_with_workers(2)
    world.submit(1, items=4)
    world.begin(dying)
    for _ in range(begun):
        world.begin_item(dying)
    world.die(dying)
    assert world.outcomes() == [None]
    world.run_one(other)
    assert world.outcomes() == ["LOST"]
    assert world.calls[0].times_begun == [1, 1, 1, 1]
    assert f"while it ran work for item {begun - 1}." in world.calls[0].text


def test_a_chunk_that_dies_at_each_of_its_items_runs_each_of_them_once():
    world, workers = pool_with_workers(4)
    world.submit(1, items=4)
    for worker in workers:
        world.begin(worker)
        world.begin_item(worker)
        world.die(worker)
    last = world.grant()
    world.ready(last)
    world.run_one(last)
    assert world.outcomes() == ["LOST"]
    assert world.calls[0].times_begun == [1, 1, 1, 1]
    assert "for item 0." in world.calls[0].text


def test_a_chunk_that_dies_before_its_first_item_is_lost_as_a_whole():
    world, (dying, other) = pool_with_workers(2)
    world.submit(1, items=4)
    world.begin(dying)
    world.die(dying)
    assert world.outcomes() == ["LOST"]
    assert other.held == []
    assert world.calls[0].times_begun == [0, 0, 0, 0]


def test_a_chunk_with_retries_runs_as_a_whole_and_its_rest_when_they_are_used_up():
    world, (first, second, third) = pool_with_workers(3)
    world.submit(1, items=3, options=CallOptions(retries=1))
    for worker in (first, second):
        world.begin(worker)
        world.begin_item(worker)
        world.begin_item(worker)
        world.die(worker)
    world.run_one(third)
    assert world.outcomes() == ["LOST"]
    assert world.calls[0].times_begun == [2, 2, 1]


def test_a_terminated_pool_tells_the_loss_of_a_chunk_whose_rest_was_to_run():
    world, (dying,) = pool_with_workers(1)
    world.submit(1, items=3)
    world.begin(dying)
    world.begin_item(dying)
    world.die(dying)
    world.terminate()
    assert world.outcomes() == ["LOST"]


def test_the_function_is_named_by_what_was_registered():
    functions = {FunctionId(5): FunctionBlob(FunctionId(5), b"", False, "registered")}
    world = PoolWorld(GroupPlan(1))
    outbox = Outbox()
    group = Group(GroupId(1), GroupPlan(1), world.settings, functions)
    span = span_of(CallMode.ITEM)
    group.submit([Bundle(FunctionId(5), CallMode.ITEM, [1], span.bundle.sink, begun=True)], outbox)
    group.decide(0.0, outbox)
    group.started(1)
    group.ready(1, 0.0)
    group.decide(0.0, outbox)
    group.done(1, CallsDone([], 0.0, False), 0.0, outbox)
    group.lost(LeaseLost(1, GroupId(1), KILLED), outbox)
    ((_, _, ((_, payload),)),) = outbox.completions
    assert msgspec.msgpack.decode(payload, type=Loss).call == "registered"
