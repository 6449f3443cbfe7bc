"""The roles of a loop decide, one after another, until nobody has anything more to say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distpool.logic.times import earlier
from distpool.runtime.elsewhere import StandIn


class Deciding:
    """Owned by whoever holds the loop."""

    def __init__(
        self, client: Any, node: Any, head: Any, stand_ins: list[StandIn], hand_over: Callable[[float], bool]
    ) -> None:
        """`hand_over` empties their outboxes: whether one of these roles got anything."""
        self._client, self._node, self._head = client, node, head
        self._stand_ins = stand_ins
        self._hand_over = hand_over
        self.wake_at: float | None = None
        """When some role has to decide again without news."""
        # Of the node and the head: most turns of a program without a cluster have nothing for them.
        self._others_wake_at: float | None = None
        self.others_have_news = True

    def decide(self, now: float) -> None:
        """Roles of this process hand each other messages without encoding."""
        # What is on its way comes first: the client must not decide on a lease whose loss it has yet to hear of.
        busy = self._hand_over(now)
        self.others_have_news = self.others_have_news or busy
        for stand_in in self._stand_ins:
            # Handed over one by one: a node has to know whom its head lets in before it answers those who connect.
            stand_in.receive(now)
            self._hand_over(now)
        busy = True
        while busy:
            client_at = self._client.decide(now)
            # At once: workers run what they are sent while the others decide.
            busy = self._hand_over(now)
            others_at = self._others_wake_at
            is_due = others_at is not None and now >= others_at
            if busy or self.others_have_news or is_due or self._stand_ins:
                self.others_have_news = False
                others_at = self._others_wake_at = earlier(self._node.decide(now), self._head.decide(now))
                busy = self._hand_over(now) or busy
            self.wake_at = earlier(client_at, others_at)
        for stand_in in self._stand_ins:
            self.wake_at = earlier(self.wake_at, stand_in.flush(now))
