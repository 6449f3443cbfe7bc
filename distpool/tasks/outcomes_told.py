"""What workers are told of promises that have ended, and what the program keeps for them meanwhile."""

from __future__ import annotations

from collections.abc import Container
from functools import partial
from typing import Any

import msgspec

from distpool.ids import LeaseId
from distpool.logic.promises import Promise
from distpool.objects.claims import claimed, payload_for_task
from distpool.objects.known import Known
from distpool.objects.promises import TaskRef, value_of, wait_for
from distpool.objects.refs import noting_refs
from distpool.objects.stores import home
from distpool.protocol.messages import OutcomeKind
from distpool.protocol.store import StoredResult
from distpool.protocol.upcalls import PromiseOutcome
from distpool.runtime.main_view import CallersMain
from distpool.serialization.buffers import parts_of
from distpool.serialization.remote_errors import encode_failure

_STORED = int(OutcomeKind.STORED)
_ERROR = int(OutcomeKind.ERROR)


class OutcomesTold:
    """Owned by whoever holds the loop."""

    def __init__(self, local: Container[LeaseId]) -> None:
        """`local`: those whose workers are on this machine."""
        self._local = local
        # What was stored anew for workers that cannot reach where it lies, for as long as they keep the promise.
        self._stored: dict[LeaseId, dict[int, Any]] = {}

    def outcome(self, lease: LeaseId, promise: Promise) -> PromiseOutcome:
        """Of one that has ended."""
        if promise.outcome is None:
            wait_for(promise, None)  # it was lost while others were brought
        kind, payload = promise.outcome  # type: ignore[misc]
        if kind == _STORED:
            try:
                payload = msgspec.msgpack.encode(self._stored_result(lease, promise))
            except Exception as error:
                return PromiseOutcome(_ERROR, encode_failure(error))
        return PromiseOutcome(kind, payload, promise.position, promise.cause)

    def _stored_result(self, lease: LeaseId, promise: Promise) -> StoredResult:
        here = payload_for_task(promise)
        is_local = lease in self._local
        if here is not None:
            named = [hold.id for hold in here.holds] if is_local else []
            return StoredResult(here.pickled, [], named, [key for key, _ in here.there])
        whole = TaskRef(Promise(0, promise.name, None, -1, promise.outcome))
        parts, refs = noting_refs(partial(parts_of, main=CallersMain()), value_of(whole.known()))
        stored = claimed(home(), parts, {}, refs, Known())
        self._stored.setdefault(lease, {})[promise.number] = stored
        return StoredResult(stored.pickled, [], [hold.id for hold in stored.claim.holds] if is_local else [])

    def forget(self, lease: LeaseId, number: int) -> None:
        """Its worker does not keep that promise any more."""
        self._stored.get(lease, {}).pop(number, None)

    def lost(self, lease: LeaseId) -> None:
        """Its worker has ended."""
        self._stored.pop(lease, None)


def is_at_hand(promise: Promise) -> bool:
    """What it has can be told at once: nothing has to be brought first."""
    outcome = promise.outcome
    return outcome is None or outcome[0] != _STORED or payload_for_task(promise) is not None
