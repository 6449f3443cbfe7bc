"""The process of `distpool node`: a node role, joined to a head elsewhere."""

from __future__ import annotations

import logging

from distpool.base_errors import HeadUnreachable
from distpool.config import Settings
from distpool.ids import HEAD, NodeId
from distpool.objects.limits import memory_bytes
from distpool.roles.node import NodeRole
from distpool.runtime.hosting import RemoteHead
from distpool.runtime.serving import Serving

_log = logging.getLogger("distpool.node")


class NodeHost:
    """A node role and its head's stand-in. Owned by the thread that runs its turns."""

    def __init__(self, head: RemoteHead, name: str, cpus: int, settings: Settings) -> None:
        self._head = head
        self._settings = settings
        self._is_silent = False
        self.role = NodeRole(NodeId(name), cpus, memory_bytes())

    def serve(self, serving: Serving) -> None:
        """Until a signal ends it. Raises HeadUnreachable when the head refuses this node, or is gone for good."""
        try:
            serving.run(self._turn, self._head.has_some, self._head.descriptors())
        except BaseException:
            self._head.close()
            raise
        self._head.leave()

    def _turn(self, now: float) -> float | None:
        wake_at = self._head.decide(now)
        messages = self._head.outbox.messages
        while messages:
            _, message = messages.popleft()
            self.role.handle(HEAD, message, now)
        if self.role.refusal:
            raise HeadUnreachable(f"the head at {self._head.connection.endpoint} refused: {self.role.refusal}")
        if self.role.outbox.messages:
            self._pass_on(now)
            wake_at = self._head.decide(now)
        return self._watch_head(now, wake_at)

    def _pass_on(self, now: float) -> None:
        while self.role.outbox.messages:
            to, message = self.role.outbox.messages.popleft()
            if to != HEAD:
                raise ValueError(f"a {type(message).__name__} for {to!r}, which this process does not host")
            self._head.handle(to, message, now)

    def _watch_head(self, now: float, wake_at: float | None) -> float | None:
        silence_s = now - self._head.heard_at
        if silence_s > self._settings.head_gone_limit_s:
            raise HeadUnreachable(
                f"the head at {self._head.connection.endpoint} was not heard of for {silence_s:.0f} s: it is given up"
            )
        is_silent = silence_s > self._settings.silence_limit_s
        if is_silent != self._is_silent:
            self._is_silent = is_silent
            _log.warning("the head is %s", "not heard of; waiting for it" if is_silent else "there again")
        due = self._head.heard_at + (self._settings.head_gone_limit_s if is_silent else self._settings.silence_limit_s)
        return due if wake_at is None else min(due, wake_at)
