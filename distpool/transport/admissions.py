"""How many connections each key has at a listener, and which of them have said nothing.

ZeroMQ asks who may connect before it tells of the connection, and names the key of a connection with its messages only.
So what was let in and has said nothing is counted for its key for a while, and then its connection is to be ended.
"""

from __future__ import annotations

from collections import Counter, deque

SPEAK_WITHIN_S = 10.0
"""Members say something at once; a handshake may take three seconds before that."""


class Admissions:
    """Owned by whoever holds the loop. A connection is a number that no other one has while it lives."""

    def __init__(self) -> None:
        self._keys: dict[int, str] = {}
        self._connections: Counter[str] = Counter()
        # Of those who were let in and have said nothing, by their keys: when; oldest first.
        self._let_in: dict[str, deque[float]] = {}
        self._silent: dict[int, float] = {}

    def accepted(self, connection: int, now: float) -> None:
        """Somebody has connected; by which key is not known yet."""
        self._silent[connection] = now

    def let_in(self, key: str, now: float) -> None:
        self._let_in.setdefault(key, deque()).append(now)

    def spoke(self, connection: int, key: str) -> None:
        """A message has come by it: the first counts. One that has ended meanwhile is not counted again."""
        if self._silent.pop(connection, None) is None:
            return
        self._keys[connection] = key
        self._connections[key] += 1
        if self._let_in.get(key):
            self._let_in[key].popleft()

    def ended(self, connection: int) -> None:
        self._silent.pop(connection, None)
        key = self._keys.pop(connection, None)
        if key is not None:
            self._connections[key] -= 1
            if not self._connections[key]:
                del self._connections[key]

    def count(self, key: str, now: float) -> int:
        """How many connections a key has, or is about to have."""
        waiting = self._let_in.get(key, deque())
        while waiting and now - waiting[0] > SPEAK_WITHIN_S:
            waiting.popleft()
        if not waiting:
            self._let_in.pop(key, None)
        return self._connections[key] + len(waiting)

    def remove_silent(self, now: float) -> list[int]:
        """Forget the connections that have said nothing for too long, and return them."""
        silent = [connection for connection, since in self._silent.items() if now - since > SPEAK_WITHIN_S]
        for connection in silent:
            del self._silent[connection]
        return silent
