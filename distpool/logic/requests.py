"""The leases that a group has asked the head for and has not got yet."""

from __future__ import annotations

from distpool.ids import HEAD, GroupId
from distpool.logic.outbox import Outbox
from distpool.protocol.cluster import EndGroup
from distpool.protocol.messages import RequestLeases


class Requests:
    """Each is granted, or dropped when the group ends."""

    def __init__(self, group: GroupId) -> None:
        self.pending = 0
        self._group = group
        self._is_end_told = False

    def ask(self, count: int, outbox: Outbox) -> None:
        self.pending += count
        outbox.put(HEAD, RequestLeases(self._group, count))

    def ask_again(self, outbox: Outbox) -> None:
        """The head may have forgotten them."""
        if self.pending:
            outbox.put(HEAD, RequestLeases(self._group, self.pending))

    def granted(self) -> None:
        self.pending -= 1

    def give_up(self, outbox: Outbox) -> None:
        """The group ends. What is granted already still comes."""
        if self.pending and not self._is_end_told:
            self._is_end_told = True
            outbox.put(HEAD, EndGroup(self._group))

    def dropped(self, count: int) -> None:
        """The head says that it will not grant so many."""
        self.pending -= count
