"""The values of tasks that stay on nodes: they are brought when somebody opens them, and made again when they are
lost."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Callable
from typing import Any

from distpool.config import Settings
from distpool.ids import Key, NodeId, StoreId
from distpool.objects.copies import Copy, find
from distpool.objects.promises import LOCK, PROMISES
from distpool.objects.staying import StayingValue
from distpool.protocol.store import StoredResult
from distpool.runtime.handles import Wait


class FarValues:
    """Owned by whoever holds the loop, but for `come` and what waits, which any thread may call."""

    def __init__(self, settings: Settings, bring: Callable[[Key], Copy | None]) -> None:
        """`bring`: have an object of a node brought here; None: no node has its store."""
        self.patience_s = 2 * settings.silence_limit_s
        """How long it may take until this program is told that a node is lost, and some more."""
        self.is_over = False
        """This program has left the cluster."""
        self._pid = os.getpid()
        self._bring = bring
        self._in_store: dict[StoreId, weakref.WeakSet[StayingValue]] = {}
        self._post: Callable[..., None] = _do_nothing
        self._wait: Wait = _do_nothing
        self._at_rest: Callable[..., None] = _do_nothing

    def serve(self, post: Callable[..., None], wait: Wait, at_rest: Callable[..., None]) -> None:
        """`post`: have the holder of the loop do something, `at_rest`: when all roles are at rest; `wait`: let this
        thread wait until something is so, at most so long."""
        self._post, self._wait, self._at_rest = post, wait, at_rest

    def leave(
        self, node: NodeId, result: StoredResult, made: list[Any], named: list[Any], lineage: Any
    ) -> StayingValue:
        """A result that stays on that node. `made`: what holds its objects there; `named`: those that it names."""
        sizes = result.sizes if len(result.sizes) == len(made) else [0] * len(made)
        objects = [(hold.key, max(0, size)) for hold, size in zip(made, sizes, strict=True)]
        value = StayingValue(result.pickled, [*named, *made], objects, lineage, self, str(node))
        self._in_store.setdefault(made[0].key[0], weakref.WeakSet()).add(value)
        return value

    def lose(self, store: StoreId) -> None:
        """The node is lost: what is not here too is made again. Who could not have it from there is told."""
        for value in list(self._in_store.pop(store, ())):
            if _are_here([key for key, _ in value.objects]):
                with LOCK:
                    value.is_only_here = True
                    doubts, value.doubts = value.doubts, {}
                for number, watchers in doubts.items():
                    for watcher in watchers:
                        self._at_rest(watcher.ended, PROMISES.find(number))
                continue
            with LOCK:
                task = value.lineage.lose(value)
            if task is not None:
                self._at_rest(value.lineage.hand_in, [task])

    def come(self, keys: list[Key], then: Callable[[], None]) -> None:
        """Somebody is about to ask for them. `then` is called when all are here, or do not come: at rest, or at once
        where there is nothing to be done."""
        if self.is_over or _are_here(keys):
            then()
            return
        left = set(keys)

        def arrived(copy: Copy) -> None:
            left.discard(copy.key)
            if not left:
                self._at_rest(then)

        def begin() -> None:
            for key in keys:
                copy = self._bring(key)
                if copy is None or copy.is_whole or copy.failure:
                    left.discard(key)
                else:
                    copy.on_end.append(arrived)
            if not left:
                self._at_rest(then)

        self._post(begin)

    def are_here_after(self, keys: list[Key], is_over: Callable[[], bool], limit_s: float) -> bool:
        """Wait until it is over, at most so long: whether they are here then."""
        if not self.is_over and os.getpid() == self._pid:
            self._wait(is_over, limit_s)
        return _are_here(keys)

    def wait_for_loss(self, is_known: Callable[[], bool], limit_s: float = math.inf) -> None:
        """Until the loss of a node is known, as long as that may take, or so long."""
        if not self.is_over and os.getpid() == self._pid:
            self._wait(is_known, min(self.patience_s, limit_s))


def _are_here(keys: list[Key]) -> bool:
    """In this process's store too, and whole."""
    return all((copy := find(key)) is not None and copy.is_whole for key in keys)


def _do_nothing(*args: Any) -> None:
    pass
