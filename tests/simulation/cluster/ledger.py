"""Every call of a cluster's run. What differs from one machine: a call may be lost without a death, when its caller
gives up the lease; the worker of such a lease may go on, or even begin then what was on its way.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from distpool.ids import GroupId, LeaseId
from distpool.protocol.messages import OutcomeKind
from tests.simulation.ledger import Call, Handed, Ledger
from tests.simulation.transcript import Violation

if TYPE_CHECKING:
    from tests.simulation.cluster.world import ClusterWorld

ROUNDING_S = 1e-6


class ClusterLedger(Ledger):
    """Is told of everything that happens to a call, and objects."""

    def __init__(self, world: ClusterWorld) -> None:
        super().__init__(world.tell, lambda: world.now)
        self.group_of: dict[int, GroupId] = {}
        self.open_calls = 0
        self._world = world
        self._given_up: dict[LeaseId, bool] = {}
        self._sent: Counter[int] = Counter()
        self._sent_at: dict[int, float] = {}

    def submitted(self, calls: list[Call], group: GroupId) -> None:
        self.open_calls += len(calls)
        for call in calls:
            self.group_of[call.number] = group

    def abandoned(self, calls: list[Call]) -> None:
        """Their driver is dead: nobody waits for them."""
        self.open_calls -= sum(call.outcome is None for call in calls)

    def sent(self, lease: LeaseId, numbers: list[int]) -> None:
        """A driver sends these to the worker of its lease."""
        if lease in self._given_up:
            raise Violation("sent to nobody", f"calls {numbers} to lease {lease}, which is lost")
        for number in numbers:
            self.calls[number].lease = lease
            self._sent[number] += 1
            self._sent_at[number] = self._world.now

    def given_up(self, lease: LeaseId, *, is_exact: bool) -> None:
        """A driver is told that its lease is lost. `is_exact`: what its worker had begun is known."""
        if lease in self._given_up:
            raise Violation("lost twice", f"lease {lease}")
        self._given_up[lease] = is_exact
        self.dead.add(lease)

    def begin(self, number: int, lease: LeaseId, left_out: int) -> Call:
        call = self.calls[number]
        group = self._world.group_of_worker(lease)
        if group != self.group_of[number]:
            raise Violation("in two hands", f"worker {lease} of group {group} begins call {number} of another")
        if self._given_up.get(lease, True):
            call = super().begin(number, lease, left_out)
        else:
            # Its caller has given it up without knowing what it does, and counts the call as begun.
            self._tell(f"worker {lease}", "", f"begins call {number} though it is given up")
            call.begun_by.insert(0, lease)
        if len(call.begun_by) > 1 + call.options.retries:
            raise Violation("began too often", f"call {number} by workers {call.begun_by}")
        return call

    def _end(self, handed: Handed, call: Call, kind: OutcomeKind, payload: bytes) -> None:
        super()._end(handed, call, kind, payload)
        self.open_calls -= 1

    def _check_timeout(self, call: Call) -> None:
        """What a worker elsewhere has begun is known only by asking it: the time runs from when the call was sent."""
        timeout_s = call.options.timeout_s
        assert timeout_s is not None, "the call may not end like this"
        if call.number not in self._sent_at or self._world.now < self._sent_at[call.number] + timeout_s - ROUNDING_S:
            raise Violation("timed out too early", f"call {call.number} was sent at {self._sent_at.get(call.number)}")

    def _check_loss(self, handed: Handed, call: Call) -> None:
        lease = call.lease
        if lease is None or lease not in self._given_up:
            raise Violation("lost without a death", f"call {call.number} at worker {lease}")
        if self._sent[call.number] < 1 + call.options.retries:
            raise Violation("lost before its time", f"call {call.number} had retries left after {call.begun_by}")
        if self._given_up[lease] and lease not in call.begun_by:
            raise Violation("lost though not begun", f"call {call.number} at worker {lease}")
