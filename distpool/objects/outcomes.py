"""What became of a call, as its caller gets it: a value, or the exception with its remote traceback."""

from __future__ import annotations

import pickle
import time
from importlib import import_module
from multiprocessing.pool import MaybeEncodingError  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any

import msgspec

from distpool.base_errors import CallTimeout, RemoteError
from distpool.logic.calls import Outcome
from distpool.protocol.messages import Loss, OutcomeKind
from distpool.serialization.remote_errors import decode_failure

if TYPE_CHECKING:
    from distpool.errors import ActorDied, ActorUnavailable, WorkerDied
    from distpool.protocol.actors import ActorEnd

_VALUE = int(OutcomeKind.VALUE)
_ERROR = int(OutcomeKind.ERROR)
_OF_ACTORS = frozenset({OutcomeKind.ACTOR_DIED, OutcomeKind.ACTOR_UNAVAILABLE})


def values_of(outcomes: list[Outcome]) -> list[Any] | None:
    """The values of calls that all have one; None when some have not, or cannot be unpickled."""
    loads = pickle.loads
    for kind, _ in outcomes:
        if kind:
            return None
    try:
        return [loads(payload) for _, payload in outcomes]
    except BaseException:  # it belongs to one of them: whoever asks opens them one by one
        return None


def open_outcome(outcome: Outcome, traceback_class: type[Exception]) -> tuple[bool, object]:
    """(True, value) or (False, exception). A result that cannot be unpickled gives the error of doing so.

    `traceback_class` carries the text of the remote traceback, as the cause of the exception.
    """
    kind, payload = outcome
    if kind == _VALUE:
        try:
            return True, pickle.loads(payload)
        except BaseException as failure:  # what it raises belongs to whoever waits for the result
            return False, failure
    if kind == _ERROR:
        error, trace = decode_failure(payload)
        if not isinstance(error, MaybeEncodingError):
            error.__cause__ = traceback_class(f'\n"""\n{trace}"""')
        return False, error
    if kind == OutcomeKind.LOST:
        return False, _worker_died(msgspec.msgpack.decode(payload, type=Loss))
    if kind == OutcomeKind.STORED:
        try:
            return True, payload.load()  # type: ignore[attr-defined]
        except BaseException as failure:
            return False, failure
    if kind in _OF_ACTORS:
        from distpool.protocol.actors import ActorEnd  # few programs have actors, and fewer lose one

        end = msgspec.msgpack.decode(payload, type=ActorEnd)
        return False, _actor_died(end) if kind == OutcomeKind.ACTOR_DIED else _actor_unavailable(end)
    text = payload.decode(errors="replace")
    if kind == OutcomeKind.TIMED_OUT:
        return False, CallTimeout(text)
    errors = import_module("distpool.errors")
    classes = {OutcomeKind.BROKEN: errors.PoolBroken, OutcomeKind.UNPLACED: errors.ResourcesUnavailable}
    return False, classes.get(OutcomeKind(kind), errors.PoolTerminated)(text)


def _actor_died(end: ActorEnd) -> ActorDied:
    died_at = time.time() - (time.monotonic() - end.at) if end.at else time.time()
    when = time.strftime("%H:%M:%S", time.localtime(died_at))
    cause = None
    why = end.text
    if end.failure:
        cause, trace = decode_failure(end.failure)
        cause.__cause__ = RemoteError(f'\n"""\n{trace}"""')
        why += f" {import_module('traceback').format_exception_only(cause)[0].rstrip()}"
    error: ActorDied = import_module("distpool.errors").ActorDied(f"actor {end.actor} died at {when}: {why}")
    error.__cause__ = cause
    error.actor = end.actor
    error.died_at = died_at
    if end.death is not None:
        error.pid, error.exitcode = end.death.pid, end.death.exitcode
    return error


def _actor_unavailable(end: ActorEnd) -> ActorUnavailable:
    error: ActorUnavailable = import_module("distpool.errors").ActorUnavailable(end.text)
    error.actor = end.actor
    if end.death is not None:
        error.pid, error.exitcode = end.death.pid, end.death.exitcode
    return error


def _worker_died(loss: Loss) -> WorkerDied:
    death = loss.death
    errors = import_module("distpool.errors")
    kind = errors.NodeLost if death.node else errors.OutOfMemory if death.memory_ran_out else errors.WorkerDied
    error: WorkerDied = kind(loss.text)
    error.call = loss.call
    if death.node:
        error.node = death.node  # type: ignore[attr-defined]
        return error
    error.pid = death.pid
    error.exitcode = death.exitcode
    error.peak_memory_bytes = death.peak_memory_bytes or None
    error.stderr = death.stderr
    return error
