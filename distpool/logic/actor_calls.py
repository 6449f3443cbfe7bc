"""The calls of one actor: which are sent when, and which of them have begun.

In order: one after another, answered in that order, and a few sent ahead. Beside each other: as many as their group may
run are sent, none ahead, and answered by number: that of the first is 0 in each worker.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from distpool.config import Settings
from distpool.logic.actor_plan import DEFAULT_GROUP, ActorCallOptions
from distpool.logic.calls import Bundle, CallQueue, Span
from distpool.logic.credits import Credits
from distpool.logic.leases import Lease
from distpool.logic.outbox import Completion
from distpool.protocol.messages import CallsDone


class ActorCalls(Protocol):
    """Owned by an `Actor`. `lease`: of the only worker that there is."""

    def push(self, bundles: Iterable[Bundle]) -> int:
        """Calls that came: how many."""
        ...

    def waiting(self) -> int:
        """How many are not sent."""
        ...

    def take(self, lease: Lease) -> tuple[list[Span], list[Span]]:
        """Those to send now, and those that turn out to be cancelled."""
        ...

    def finish(self, lease: Lease, message: CallsDone) -> list[Completion]:
        """The worker has answered."""
        ...

    def lose(self, lease: Lease, unbegun: int, *, is_constructed: bool) -> tuple[list[Span], list[Span]]:
        """The worker has ended: the calls that it had begun, one by one, and those that it had not, in their order.
        Unless it `is_constructed`, it had none but the constructor's."""
        ...

    def again(self, begun: list[Span], unbegun: list[Span]) -> None:
        """These are to be sent again, before all others."""
        ...

    def drop_all(self) -> list[Span]:
        """Remove those that are not sent."""
        ...


class InOrder:
    """One at a time."""

    def __init__(self, settings: Settings, *, is_far: bool) -> None:
        ahead_s = settings.far_work_ahead_s if is_far else settings.work_ahead_s
        self._credits = Credits(ahead_s, settings.calls_ahead_limit)
        self._bytes_limit = settings.bytes_ahead_limit
        self._queue = CallQueue()

    def push(self, bundles: Iterable[Bundle]) -> int:
        return self._queue.push(bundles)

    def waiting(self) -> int:
        return self._queue.waiting

    def take(self, lease: Lease) -> tuple[list[Span], list[Span]]:
        holding = lease.holding
        bytes_room = self._bytes_limit - holding.bytes
        # What is stored is pinned for a call that was sent: of large ones none is sent ahead.
        if bytes_room <= 0 and (holding.calls > 1 or holding.claims):
            return [], []
        spans, cancelled = self._queue.take(lease.room(self._credits.limit()), bytes_room)
        holding.add(spans)
        return spans, cancelled

    def finish(self, lease: Lease, message: CallsDone) -> list[Completion]:
        self._credits.observe(len(message.outcomes), message.busy_s)
        return lease.holding.finish(message.outcomes)

    def lose(self, lease: Lease, unbegun: int, *, is_constructed: bool) -> tuple[list[Span], list[Span]]:
        if not is_constructed:
            return _lose_constructor(lease)
        holding = lease.holding
        not_begun = holding.take_back(min(unbegun, holding.calls))
        begun = holding.take_back(holding.calls)
        holding.waits_again([*begun, *not_begun])
        return [Span(span.bundle, at, at + 1) for span in begun for at in range(span.start, span.stop)], not_begun

    def again(self, begun: list[Span], unbegun: list[Span]) -> None:
        self._queue.wait_again(unbegun)
        self._queue.push_back(begun)

    def drop_all(self) -> list[Span]:
        return self._queue.drop_all()


class Beside:
    """Several at a time, in groups with a limit each. Of what the lease holds it keeps the number only."""

    def __init__(self, settings: Settings, limits: dict[str, int]) -> None:
        self._limits = limits
        self._bytes_limit = settings.bytes_ahead_limit
        self._queues = {group: CallQueue() for group in limits}
        self._sent: dict[int, Span] = {}
        """What the worker has, by its number there."""
        self._running = dict.fromkeys(limits, 0)
        self._bytes = 0
        self._next = 0

    def push(self, bundles: Iterable[Bundle]) -> int:
        pushed = 0
        for bundle in bundles:
            pushed += self._queues[_group_of(bundle)].push([bundle])
        return pushed

    def waiting(self) -> int:
        return sum(queue.waiting for queue in self._queues.values())

    def take(self, lease: Lease) -> tuple[list[Span], list[Span]]:
        lease.beside = self._sent
        to_send: list[Span] = []
        cancelled: list[Span] = []
        for group, queue in self._queues.items():
            room = self._limits[group] - self._running[group]
            bytes_room = self._bytes_limit - self._bytes
            if not queue.waiting or room <= 0 or (bytes_room <= 0 and self._sent):
                continue
            spans, without = queue.take(room, bytes_room)
            cancelled += without
            for span in spans:
                for at in range(span.start, span.stop):
                    self._send(group, Span(span.bundle, at, at + 1))
            to_send += spans
        lease.holding.calls = len(self._sent)
        return to_send, cancelled

    def _send(self, group: str, call: Span) -> None:
        for claim in call.claims():
            claim.sent()
        self._sent[self._next] = call
        self._next += 1
        self._running[group] += 1
        self._bytes += call.bundle.entry_bytes

    def finish(self, lease: Lease, message: CallsDone) -> list[Completion]:
        done: list[Completion] = []
        for number, outcome in zip(message.numbers, message.outcomes, strict=True):
            call = self._sent.pop(number)
            self._ended(call)
            bundle = call.bundle
            if bundle.claims:
                bundle.claims.pop(call.start, None)
            done.append((bundle, bundle.first + call.start, [outcome]))
        lease.holding.calls = len(self._sent)
        return done

    def lose(self, lease: Lease, unbegun: int, *, is_constructed: bool) -> tuple[list[Span], list[Span]]:
        if not is_constructed:
            return _lose_constructor(lease)
        first_unbegun = self._next - unbegun
        begun = [call for number, call in self._sent.items() if number < first_unbegun]
        not_begun = [call for number, call in self._sent.items() if number >= first_unbegun]
        for call in self._sent.values():
            for claim in call.claims():
                claim.waits()
            self._ended(call)
        self._sent.clear()
        self._next = lease.holding.calls = 0
        return begun, not_begun

    def _ended(self, call: Span) -> None:
        self._running[_group_of(call.bundle)] -= 1
        self._bytes -= call.bundle.entry_bytes

    def again(self, begun: list[Span], unbegun: list[Span]) -> None:
        for group, queue in self._queues.items():
            queue.wait_again(span for span in unbegun if _group_of(span.bundle) == group)
            queue.push_back(span for span in begun if _group_of(span.bundle) == group)

    def drop_all(self) -> list[Span]:
        return [span for queue in self._queues.values() for span in queue.drop_all()]


def calls_of(settings: Settings, limits: dict[str, int] | None, *, is_far: bool) -> ActorCalls:
    """For an actor whose calls run beside each other within these limits (None: in order)."""
    return InOrder(settings, is_far=is_far) if limits is None else Beside(settings, limits)


def _group_of(bundle: Bundle) -> str:
    options = bundle.options
    return options.concurrency_group if isinstance(options, ActorCallOptions) else DEFAULT_GROUP


def _lose_constructor(lease: Lease) -> tuple[list[Span], list[Span]]:
    """It is sent again in any case."""
    lease.holding.waits_again(lease.holding.take_back(lease.holding.calls))
    return [], []
