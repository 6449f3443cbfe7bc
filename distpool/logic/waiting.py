"""Workers that wait for what their calls have started: they get nothing meanwhile, and what they were sent and have not
begun runs elsewhere.

Where calls start others of their own group (`replaces_waiting`), one more lease takes the place of each until it goes
on. Then there are more than there should be for a while: no more calls run at once, and who has nothing to do leaves.
So as many workers wait as calls are deep, if those are run first that are deepest; a limit bounds them all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from distpool.ids import HEAD
from distpool.logic.leases import Lease, LeaseState
from distpool.logic.leaving import tell_to_end
from distpool.logic.outbox import Outbox
from distpool.logic.times import earlier
from distpool.protocol.messages import TakeBack
from distpool.protocol.placing import LeaseWaits


class Waiting:
    """Those of one group."""

    def __init__(self, size: int, limit: int, linger_s: float, *, replaces: bool) -> None:
        """`size`: how many leases the group has without them. `limit`: how many may wait. `linger_s`: how long one that
        is too many has nothing to do before it leaves."""
        self.has_news = False
        """Something has happened to them since the group decided last."""
        self._size = size
        self._limit = limit
        self._linger_s = linger_s
        self._replaces = replaces
        self._leases: set[Lease] = set()
        self.is_over = False
        """There may be more leases than the group's size."""

    def begin(self, lease: Lease, outbox: Outbox) -> str:
        """Its worker waits from now on, once more if it does already. Or why it may not: nothing would go on."""
        if not lease.waits:
            if self._replaces and len(self._leases) >= self._limit:
                return (
                    f"{self._limit} workers wait for calls that theirs have started, and no more may: start fewer "
                    "levels of calls within calls, wait for them in the program, or raise DISTPOOL_WAITING_LIMIT"
                )
            self._leases.add(lease)
            self.has_news = True
            outbox.put(HEAD, LeaseWaits(lease.id, True))
            if lease.holding.calls > 1 and lease.may_be_asked():
                lease.is_asked = True
                outbox.put(lease.id, TakeBack(lease.id))
        lease.waits += 1
        return ""

    def end(self, lease: Lease, outbox: Outbox) -> None:
        """Its worker goes on."""
        lease.waits -= 1
        if not lease.waits:
            self._leases.discard(lease)
            self.is_over = self._replaces
            self.has_news = True
            outbox.put(HEAD, LeaseWaits(lease.id, False))

    def lost(self, lease: Lease) -> None:
        self._leases.discard(lease)

    def size(self) -> int:
        """How many leases the group shall have."""
        return self._size + len(self._leases) if self._replaces else self._size

    def are_some(self) -> bool:
        """There are some, or have been, and there may be too many leases for that."""
        return self.is_over or bool(self._leases)

    def within_size(self, open_leases: list[Lease], leases: Iterable[Lease]) -> list[Lease]:
        """Of those that may be sent calls, those that are sent some: no more than the group's size are busy."""
        if not (self._replaces and self.are_some()):
            return open_leases
        left = self._size - sum(1 for lease in leases if lease.holding.calls and not lease.waits)
        kept = []
        for lease in open_leases:
            if not lease.holding.calls:
                left -= 1
                if left < 0:
                    continue
            kept.append(lease)
        return kept

    def let_leave(self, leases: Collection[Lease], now: float, outbox: Outbox) -> float | None:
        """Tell those to end that are too many and have had nothing to do for long enough; when to look again."""
        if not self.is_over:
            return None
        staying = [lease for lease in leases if lease.state is not LeaseState.LEAVING]
        excess = len(staying) - self.size()
        if excess <= 0:
            self.is_over = False
            return None
        look_again = None
        for lease in staying:
            if lease.holding.calls or lease.state is not LeaseState.READY or lease.is_asked:
                continue
            due = lease.heard_at + self._linger_s
            if due > now:
                look_again = earlier(look_again, due)
            elif excess > 0:
                excess -= 1
                tell_to_end(lease, outbox)
        return look_again
