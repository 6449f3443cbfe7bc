"""Does the simulation notice? Small mistakes planted into the real logic must be caught, each by the right rule."""

from collections.abc import Callable
from dataclasses import dataclass
from unittest import mock

import msgspec
import pytest

from distpool.logic import group, limits, losses, stops
from distpool.logic.balance import Balance
from distpool.logic.calls import CallQueue, Holding, Span
from distpool.logic.credits import Credits
from distpool.logic.group import Group
from distpool.logic.leases import Lease
from distpool.logic.stops import Stops
from distpool.protocol.messages import OutcomeKind
from distpool.roles import client
from distpool.roles.client import ClientRole
from distpool.roles.node import NodeRole
from distpool.roles.worker import WorkerRole
from tests.simulation.scenario import Scenario
from tests.simulation.transcript import Violation

SEEDS = 200
NO_LOSS = (OutcomeKind.LOST, b"")

finish = Holding.finish
take_back = Holding.take_back
lost = Group.lost
taken_back = Group.taken_back
request_leases = Group._request_leases
take = CallQueue.take
end_everything = Group._end_everything
room = Lease.room
encode_calls = ClientRole._encode_calls
node_handle = NodeRole.handle
close_down = Group._close_down
lose = Group._lose
push = CallQueue.push
call_to_repeat = losses.call_to_repeat
rest_of_chunk = losses.rest_of_chunk
end_overdue = Stops._end_overdue
group_decide = Group.decide
overdue = limits.overdue
slice_of = client.slice_of


def finish_drops_the_last(self, outcomes):
    done = finish(self, outcomes)
    bundle, first, ended = done[-1]
    return [*done[:-1], (bundle, first, ended[:-1])] if len(outcomes) > 1 else done


def finish_confuses_neighbours(self, outcomes):
    return [(bundle, first, ended[::-1]) for bundle, first, ended in finish(self, outcomes)]


def take_back_takes_the_oldest(self, count):
    if count == 0 or count == self.calls:
        return take_back(self, count)
    everything = take_back(self, self.calls)
    oldest = []
    while count:
        span = everything.pop(0)
        if len(span) > count:
            everything.insert(0, Span(span.bundle, span.start + count, span.stop))
            span = Span(span.bundle, span.start, span.start + count)
        oldest.append(span)
        count -= len(span)
    self.add(everything)
    return oldest


def lost_forgets_the_unbegun(self, message, outbox):
    with mock.patch.object(CallQueue, "push_back", return_value=None):
        lost(self, message, outbox)


def lost_runs_the_begun_again(self, message, outbox):
    lost(self, replace_unbegun(message, 10**6), outbox)


def lost_takes_all_for_begun(self, message, outbox):
    lost(self, replace_unbegun(message, 0), outbox)


def replace_unbegun(message, unbegun):
    death = msgspec.structs.replace(message.death, unbegun=unbegun)
    return type(message)(message.lease, message.group, death)


def taken_back_goes_on_sending(self, lease_id, calls, *rest):
    with mock.patch.object(Lease, "step", return_value=None):
        taken_back(self, lease_id, calls, *rest)


def refused_does_not_stop(self):
    self._hand.clear()


def told_does_not_reset(self, now):
    self._told_at = now
    self.untold = False


def requests_one_too_many(self, outbox):
    self.waiting._size += 1
    request_leases(self, outbox)
    self.waiting._size -= 1


def requests_again_and_again(self, outbox):
    self.requests.pending = 0
    request_leases(self, outbox)


def take_ignores_cancellation(self, limit, bytes_limit):
    with mock.patch("tests.simulation.ledger.Handed.begin", return_value=True):
        return take(self, limit, bytes_limit)


def end_everything_forgets_what_is_held(self, outbox, kind):
    self.leases, leases = {}, self.leases
    end_everything(self, outbox, kind)
    self.leases = leases


def room_for_whoever(self, limit):
    return max(0, limit - self.holding.calls)


def encode_forgets_functions(self, lease, spans):
    lease.functions.update(self.functions)
    return encode_calls(self, lease, spans)


def node_keeps_the_lease(self, sender, message, now):
    node_handle(self, sender, message, now)
    for entry in [entry for entry in self.outbox.messages if type(entry[1]).__name__ == "ReturnLease"]:
        self.outbox.messages.remove(entry)


def close_down_does_not_wait(self, outbox):
    self.outstanding, outstanding = 0, self.outstanding
    close_down(self, outbox)
    self.outstanding = outstanding


def close_down_leaves_the_template(self, outbox):
    self._stopping_sent = True
    close_down(self, outbox)


def repeat_forgets_attempts(span):
    again = call_to_repeat(span)
    if again is not None:
        again.bundle.attempts = 0
    return again


def repeat_allows_one_more(span):
    span.bundle.attempts -= 1
    again = call_to_repeat(span)
    span.bundle.attempts += 1
    return again


def never_repeats(span):
    return None


def repeat_confuses_the_call(span):
    again = call_to_repeat(span)
    if again is not None:
        again.bundle.first = span.bundle.first
    return again


def lose_loses_the_retry(self, span, death, outbox):
    """The call is neither in the queue nor told of."""
    if call_to_repeat(span) is None:
        lose(self, span, death, outbox)


def rest_skips_one_too_many(span, items_begun, loss):
    rest = rest_of_chunk(span, items_begun, loss)
    if rest is not None:
        rest.bundle.skip += 1
    return rest


def rest_skips_one_too_few(span, items_begun, loss):
    rest = rest_of_chunk(span, items_begun, loss)
    if rest is not None:
        rest.bundle.skip -= 1
    return rest


def rest_is_dropped(span, items_begun, loss):
    return None


def rest_of_a_rest_forgets_the_first(span, items_begun, loss):
    skip, span.bundle.skip = span.bundle.skip, 0
    rest = rest_of_chunk(span, items_begun, loss)
    span.bundle.skip = skip
    return rest


def rest_is_for_the_whole(span, items_begun, loss):
    rest = rest_of_chunk(span, items_begun, loss)
    if rest is not None:
        rest.bundle.sink = span.bundle.sink
    return rest


def loss_is_told_before_the_rest_has_run(self, span, death, outbox):
    if call_to_repeat(span) is None and rest_of_chunk(span, death.items_begun, NO_LOSS) is not None:
        outbox.end(span, NO_LOSS)
    lose(self, span, death, outbox)


def slice_keeps_the_begun(span):
    return msgspec.structs.replace(slice_of(span), skip=0)


def never_overdue(lease):
    return None, 0.0


def overdue_at_once(lease):
    due, timeout_s = overdue(lease)
    return (None, 0.0) if due is None else (due - timeout_s, timeout_s)


def overdue_looks_at_the_last(lease):
    """The first is not limited, say."""
    if lease.holding.calls and not lease.is_abandoned:
        timeout_s = lease.holding._spans[-1].bundle.options.timeout_s
        if timeout_s is not None:
            return lease.heard_at + timeout_s, timeout_s
    return None, 0.0


def end_overdue_does_not_abandon(self, leases, now, ended, outbox):
    wake_at = end_overdue(self, leases, now, ended, outbox)
    for lease in leases:
        if lease.is_abandoned:
            lease.is_abandoned = False
    return wake_at


def end_overdue_leaves_the_worker(self, leases, now, ended, outbox):
    wake_at = end_overdue(self, leases, now, ended, outbox)
    for entry in [entry for entry in outbox.messages if type(entry[1]).__name__ == "EndWorker"]:
        outbox.messages.remove(entry)
    return wake_at


def end_overdue_ends_all_that_is_held(self, leases, now, ended, outbox):
    for lease in leases:
        due, _ = overdue(lease)
        if due is not None and now >= due:
            spans = lease.holding.take_back(lease.holding.calls - 1)
            ended.append((spans, OutcomeKind.TIMED_OUT, "it was there too"))
    return end_overdue(self, leases, now, ended, outbox)


def decide_gives_up_what_is_held(self, now, outbox):
    """What is held beside an overdue call is queued without asking whether it has begun."""
    for lease in self.leases.values():
        due, _ = overdue(lease)
        if due is not None and now >= due:
            self.queue.push_back(lease.holding.take_back(lease.holding.calls - 1))
    return group_decide(self, now, outbox)


def end_overdue_leaves_the_token(self, leases, now, ended, outbox):
    """A call that is alone at its worker is taken for begun."""
    for lease in leases:
        lease.has_begun_all = lease.has_begun_all or lease.holding.calls == 1
    return end_overdue(self, leases, now, ended, outbox)


def room_beside_an_overdue_call(self, limit):
    self.is_asked, is_asked = False, self.is_asked
    calls = room(self, limit)
    self.is_asked = is_asked
    return calls


def push_ignores_priority(self, bundles):
    flat = [msgspec.structs.replace(bundle, options=without_priority(bundle.options)) for bundle in bundles]
    return push(self, flat)


def push_turns_priority_around(self, bundles):
    turned = msgspec.structs.replace
    return push(
        self,
        [turned(b, options=turned(b.options, priority=-b.options.priority)) for b in bundles],
    )


def without_priority(options):
    return msgspec.structs.replace(options, priority=0)


@dataclass(frozen=True)
class Mutant:
    """A mistake: `owner`'s `name` is replaced. `caught_by`: the rules that may notice first."""

    owner: object
    name: str
    mistake: Callable
    caught_by: tuple[str, ...]

    def __str__(self) -> str:
        return self.mistake.__name__


def never_sent(self, calls):
    """Calls do not count against a worker's life."""


def never_steals(self, leases, now):
    return None, None


def no_credit(self):
    return 2 if self.call_s is None else 0


MUTANTS = [
    Mutant(Holding, "finish", finish_drops_the_last, ("a result waits", "never ends")),
    Mutant(Holding, "finish", finish_confuses_neighbours, ("result of another call",)),
    Mutant(
        Holding,
        "take_back",
        take_back_takes_the_oldest,
        ("result of another call", "began twice", "lost without a death"),
    ),
    Mutant(Group, "lost", lost_forgets_the_unbegun, ("never ends",)),
    Mutant(Group, "lost", lost_runs_the_begun_again, ("began twice", "began too often")),
    Mutant(Group, "lost", lost_takes_all_for_begun, ("lost without a death",)),
    Mutant(Group, "taken_back", taken_back_goes_on_sending, ("began twice", "result of another call", "raised")),
    Mutant(Group, "_request_leases", requests_one_too_many, ("a lease too many",)),
    Mutant(Group, "_request_leases", requests_again_and_again, ("a lease too many", "no rest")),
    Mutant(Group, "_end_everything", end_everything_forgets_what_is_held, ("ended without a reason", "a result waits")),
    Mutant(Group, "_close_down", close_down_does_not_wait, ("sent to a worker that is not ready", "never ends")),
    Mutant(Group, "_close_down", close_down_leaves_the_template, ("a group stays",)),
    Mutant(CallQueue, "take", take_ignores_cancellation, ("ran though cancelled",)),
    Mutant(Lease, "room", room_for_whoever, ("sent to a worker that is not ready", "raised")),
    Mutant(Lease, "sent", never_sent, ("worker of too many calls",)),
    Mutant(Balance, "choose", never_steals, ("an idle worker",)),
    Mutant(Credits, "limit", no_credit, ("never ends", "an idle worker")),
    Mutant(group, "call_to_repeat", repeat_forgets_attempts, ("began too often",)),
    Mutant(group, "call_to_repeat", repeat_allows_one_more, ("began too often",)),
    Mutant(group, "call_to_repeat", never_repeats, ("lost before its time",)),
    Mutant(group, "call_to_repeat", repeat_confuses_the_call, ("ended twice", "result of another call")),
    Mutant(Group, "_lose", lose_loses_the_retry, ("never ends",)),
    Mutant(group, "rest_of_chunk", rest_skips_one_too_many, ("items left out",)),
    Mutant(group, "rest_of_chunk", rest_skips_one_too_few, ("began too often",)),
    Mutant(group, "rest_of_chunk", rest_is_dropped, ("items left out",)),
    Mutant(group, "rest_of_chunk", rest_of_a_rest_forgets_the_first, ("began too often",)),
    Mutant(group, "rest_of_chunk", rest_is_for_the_whole, ("a part for the whole",)),
    Mutant(Group, "_lose", loss_is_told_before_the_rest_has_run, ("items left out",)),
    Mutant(client, "slice_of", slice_keeps_the_begun, ("began too often",)),
    Mutant(stops, "overdue", never_overdue, ("over its limit",)),
    Mutant(stops, "overdue", overdue_at_once, ("timed out too early", "timed out though not begun")),
    Mutant(stops, "overdue", overdue_looks_at_the_last, ("over its limit", "ended without a reason")),
    Mutant(Stops, "_end_overdue", end_overdue_does_not_abandon, ("raised",)),
    Mutant(Stops, "_end_overdue", end_overdue_leaves_the_worker, ("a worker stays",)),
    Mutant(Stops, "_end_overdue", end_overdue_ends_all_that_is_held, ("timed out though not begun", "credit")),
    Mutant(Group, "decide", decide_gives_up_what_is_held, ("began twice", "credit")),
    Mutant(Stops, "_end_overdue", end_overdue_leaves_the_token, ("credit", "began after its end")),
    Mutant(Lease, "room", room_beside_an_overdue_call, ("sent to a worker that is not ready", "over its limit")),
    Mutant(CallQueue, "push", push_ignores_priority, ("a higher one waits",)),
    Mutant(CallQueue, "push", push_turns_priority_around, ("a higher one waits",)),
    Mutant(ClientRole, "_encode_calls", encode_forgets_functions, ("unknown function",)),
    Mutant(NodeRole, "handle", node_keeps_the_lease, ("a lease stays",)),
    Mutant(WorkerRole, "refused", refused_does_not_stop, ("never stops",)),
    Mutant(WorkerRole, "told", told_does_not_reset, ("never ends", "an idle worker", "raised", "a worker stays")),
]


def run_seeds():
    for seed in range(SEEDS):
        Scenario(seed, is_apart=seed % 2 == 1).run()


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_planted_mistake_is_caught(mutant, monkeypatch):
    monkeypatch.setattr(mutant.owner, mutant.name, mutant.mistake)
    with pytest.raises(Violation) as caught:
        run_seeds()
    assert caught.value.rule in mutant.caught_by, str(caught.value)
    assert "seed " in str(caught.value)
