"""The leases that a group has asked the head for and has not got yet."""

from __future__ import annotations

from distpool.ids import HEAD, GroupId
from distpool.logic.outbox import Outbox
from distpool.protocol.cluster import EndGroup
from distpool.protocol.messages import RequestLeases
from distpool.protocol.resources import Shape


class Requests:
    """Each is granted, or dropped when the group ends or the head is gone for good."""

    def __init__(self, group: GroupId, shape: Shape) -> None:
        self.pending = 0
        self.has_news = False
        """Something has happened to them since the group decided last."""
        self.head_gone = ""
        """Why nothing will be granted; empty while something may be."""
        self.was_told = False
        """The user knows that some have to wait."""
        self._group = group
        self._shape = shape
        self._is_over = False

    def ask(self, count: int, outbox: Outbox) -> None:
        self.pending += count
        outbox.put(HEAD, RequestLeases(self._group, count, self._shape))

    def ask_again(self, granted: int, outbox: Outbox) -> None:
        """The head has forgotten them, but for so many that it has granted before. Those of a group that ends are
        dropped then."""
        forgotten = self.pending - granted
        if self._is_over:
            self.dropped(forgotten)
        elif forgotten:
            outbox.put(HEAD, RequestLeases(self._group, forgotten, self._shape))

    def granted(self) -> None:
        self.pending -= 1

    def give_up(self, outbox: Outbox) -> None:
        """The group ends. What is granted already still comes."""
        if self.pending and not self._is_over:
            self._is_over = True
            outbox.put(HEAD, EndGroup(self._group))
            if self.head_gone:
                self.dropped(self.pending)

    def end(self) -> None:
        """The group's template is told to stop, and whoever tells it tells the head."""
        self._is_over = True

    def dropped(self, count: int) -> None:
        """The head says that it will not grant so many."""
        self.pending -= count
        self.has_news = True

    def head_is(self, gone: str) -> None:
        """Gone for good, and in which words; or there again, when these are empty. Nobody answers a group that ends."""
        self.head_gone = gone
        self.has_news = True
        if gone and self._is_over:
            self.dropped(self.pending)
