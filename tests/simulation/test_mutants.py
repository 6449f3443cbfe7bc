"""Does the simulation notice? Small mistakes planted into the real logic must be caught, each by the right rule."""

from collections.abc import Callable
from dataclasses import dataclass
from unittest import mock

import pytest

from distpool.logic.balance import Balance
from distpool.logic.calls import CallQueue, Holding, Span
from distpool.logic.credits import Credits
from distpool.logic.group import Group, GroupPlan
from distpool.logic.leases import Lease
from distpool.roles.client import ClientRole
from distpool.roles.node import NodeRole
from distpool.roles.worker import WorkerRole
from tests.simulation.scenario import Scenario
from tests.simulation.transcript import Violation

SEEDS = 150

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
    return type(message)(message.lease, message.group, message.pid, message.exitcode, unbegun)


def taken_back_goes_on_sending(self, lease_id, calls, *rest):
    with mock.patch.object(Lease, "step", return_value=None):
        taken_back(self, lease_id, calls, *rest)


def refused_does_not_stop(self):
    self._hand.clear()


def told_does_not_reset(self, now):
    self._told_at = now
    self.untold = False


def requests_one_too_many(self, outbox):
    plan = self.plan
    self.plan = GroupPlan(plan.size + 1, plan.on_demand, plan.breaks, plan.calls_per_worker)
    request_leases(self, outbox)
    self.plan = plan


def requests_again_and_again(self, outbox):
    self._requested = 0
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


@dataclass(frozen=True)
class Mutant:
    """A mistake: `owner`'s `name` is replaced. `caught_by`: the rules that may notice first."""

    owner: type
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
    Mutant(Group, "lost", lost_runs_the_begun_again, ("began twice",)),
    Mutant(Group, "lost", lost_takes_all_for_begun, ("lost without a death",)),
    Mutant(Group, "taken_back", taken_back_goes_on_sending, ("began twice", "result of another call", "raised")),
    Mutant(Group, "_request_leases", requests_one_too_many, ("a lease too many",)),
    Mutant(Group, "_request_leases", requests_again_and_again, ("a lease too many", "no rest")),
    Mutant(Group, "_end_everything", end_everything_forgets_what_is_held, ("ended without a reason",)),
    Mutant(Group, "_close_down", close_down_does_not_wait, ("sent to a worker that is not ready", "never ends")),
    Mutant(Group, "_close_down", close_down_leaves_the_template, ("a group stays",)),
    Mutant(CallQueue, "take", take_ignores_cancellation, ("ran though cancelled",)),
    Mutant(Lease, "room", room_for_whoever, ("sent to a worker that is not ready", "raised")),
    Mutant(Lease, "sent", never_sent, ("worker of too many calls",)),
    Mutant(Balance, "choose", never_steals, ("an idle worker",)),
    Mutant(Credits, "limit", no_credit, ("never ends", "an idle worker")),
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
    assert caught.value.rule in mutant.caught_by, str(caught.value)[-3000:]
    assert "seed " in str(caught.value)
