"""The process of `distpool node`: the loop of a node whose head and whose callers are elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from multiprocessing import resource_tracker

from distpool.base_errors import HeadUnreachable
from distpool.config import Settings
from distpool.ids import NODE, NodeId
from distpool.logic.silence import Silence
from distpool.objects.stores import made_home
from distpool.protocol.cluster import StoreUse
from distpool.protocol.resources import Offer
from distpool.roles.node import NodeRole
from distpool.runtime.caller_links import CallerLinks
from distpool.runtime.elsewhere import Elsewhere
from distpool.runtime.gpus.equipment import Equipment
from distpool.runtime.hosting import RemoteHead
from distpool.runtime.joining import own_host
from distpool.runtime.loop import Loop
from distpool.runtime.serving import Serving
from distpool.transport.keys import Identity

_TELL_USE_EVERY_S = 1.0

_log = logging.getLogger("distpool.node")


class NodeHost:
    """Owned by the main thread, which runs its turns."""

    def __init__(
        self,
        head: RemoteHead,
        identity: Identity,
        name: str,
        offer: Offer,
        settings: Settings,
        port: int = 0,
        log: str = "",
        equipment: Equipment | None = None,
    ) -> None:
        """`offer`: what it has. `port`: where callers are listened to; 0 for any that is free. `log`: where its log
        lies, for people. `equipment`: its devices. Raises DistpoolError when it cannot listen there."""
        resource_tracker.ensure_running()  # the standard library's, for the workers
        self._head = head
        self._settings = settings
        self._is_silent = False
        self._is_asked = False
        self._use_told = StoreUse(0, 0)
        self._use_told_at = 0.0
        self._silence = Silence(settings.head_gone_limit_s, settings.beat_every_s)
        address = head.connection.endpoint
        try:
            self._callers = CallerLinks(f"tcp://{own_host(address)}:{port}", identity, name, settings)
        except BaseException:
            head.close()
            raise
        endpoint = self._callers.listener.endpoint
        self._role = NodeRole(NodeId(name), offer, endpoint, identity.public, log)
        self._loop = Loop(settings, offer, _wait_for_nothing, Elsewhere(head=head, client=self._callers), self._role)
        self._loop.launcher.equipment = Equipment(()) if equipment is None else equipment
        self._loop.launcher.note = _log.warning
        self._loop.guard.where = name
        self._loop.launcher.adopt = self._callers.objects.adopt
        self._loop.store_lanes.serve_foreign = self._callers.objects.serve

    def serve(self, serving: Serving, tell: Callable[[], None]) -> None:
        """Until a signal ends it, or until its calls are done if it is to leave. `tell` is called once the head knows
        this node. Raises HeadUnreachable when the head refuses it, or is gone for good and nobody uses this node."""
        self._loop.watch(serving.descriptor)
        is_told = False
        try:
            self._loop.turn(0.0)
            while not (serving.is_over or self._role.is_over):
                now = time.monotonic()
                if serving.is_asked_to_end and not self._is_asked:
                    self._is_asked = True
                    self._role.leave(self._settings.drain_limit_s, now)
                if self._is_silent and self._role.is_leaving() and not self._role.is_used():
                    break  # it has nothing, and nobody is there to say that nothing more will come
                self._loop.turn(self._watch_head(now))
                self._tell_store_use(now)
                if self._role.refusal:
                    raise HeadUnreachable(f"the head at {self._head.connection.endpoint} refused: {self._role.refusal}")
                if not is_told and self._head.is_settled():
                    is_told = True
                    tell()
        except BaseException:
            self._head.close()
            raise
        else:
            self._head.leave()
        finally:
            self._loop.close_after_fork()  # the templates end with this process, and their workers with them
            self._callers.close()

    def _watch_head(self, now: float) -> float:
        """How long to wait until the head's silence means something."""
        silence_s = now - self._head.heard_at
        # Whoever uses this node has it for as long as they need it, with a head or without.
        if self._silence.is_for_good(self._head.heard_at, now) and not self._role.is_used():
            raise HeadUnreachable(
                f"the head at {self._head.connection.endpoint} was not heard of for {silence_s:.0f} s: it is given up"
                f"{self._why()}"
            )
        is_silent = silence_s > self._settings.silence_limit_s
        if is_silent != self._is_silent:
            self._is_silent = is_silent
            _log.warning("the head is %s", f"not heard of{self._why()}; waiting" if is_silent else "there again")
        limit_s = self._settings.head_gone_limit_s if is_silent else self._settings.silence_limit_s
        return max(self._settings.beat_every_s, limit_s - silence_s)

    def _tell_store_use(self, now: float) -> None:
        """If it has changed, and not too often. Turns come with each beat at least."""
        store = made_home()
        if store is None or now < self._use_told_at + _TELL_USE_EVERY_S:
            return
        self._use_told_at = now
        stats = store.stats()
        use = StoreUse(stats.objects, stats.used_bytes)
        if use != self._use_told:
            self._use_told = use
            self._head.handle(NODE, use, now)

    def _why(self) -> str:
        refusal = self._head.connection.refusal
        return f" ({refusal})" if refusal else ""


def _wait_for_nothing(is_done: object, timeout_s: float | None) -> None:
    """Nobody waits for a handle in a node's own process."""
