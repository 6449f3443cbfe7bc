"""Exceptions from a worker to its caller: the right type, its arguments and notes, and the remote traceback as text."""

from __future__ import annotations

import pickle
import traceback
from importlib import import_module
from typing import Any

import msgspec

from distpool.base_errors import RemoteError
from distpool.serialization.pickling import standard_dumps

TEXT_LIMIT = 64 * 1024
_PLAIN = frozenset({str, int, float, bool, bytes, type(None)})


class RemoteFailure(msgspec.Struct, array_like=True, frozen=True):
    """An exception on its way. `exception`: its pickle; where that does not survive, the class, arguments and
    attributes that do are in `parts` (a pickle); where not even the class is found, `summary` and `trace` remain."""

    exception: bytes | None
    parts: bytes | None
    summary: str
    trace: str


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(RemoteFailure).decode


def encode_failure(error: BaseException) -> bytes:
    """In the worker. The frames of distpool itself are left out. Never raises for a strange exception."""
    trace = trace_of(error)
    try:
        pickled = standard_dumps(error)
        if type(error).__module__ != "builtins" or not _PLAIN.issuperset(map(type, error.args)):
            pickle.loads(pickled)
    except BaseException:  # a class that exits while it is pickled is as unusable as one that raises
        pickled = None
    parts = None if pickled is not None else _parts_of(error)
    return _encode(RemoteFailure(pickled, parts, _summary_of(error), trace))


def decode_failure(payload: bytes) -> tuple[BaseException, str]:
    """In the caller: the exception, and the text of its remote traceback."""
    failure = _decode(payload)
    error: BaseException | None = None
    if failure.exception is not None:
        try:
            error = pickle.loads(failure.exception)
        except BaseException:
            error = None
    elif failure.parts is not None:
        error = _rebuild(failure.parts)
    if not isinstance(error, BaseException):
        error = RemoteError(f"{failure.summary}; it cannot be rebuilt in this process:\n{failure.trace}")
    return error, failure.trace


def _summary_of(error: BaseException) -> str:
    try:
        text = str(error)
    except BaseException:
        text = "<no text: its __str__ failed>"
    return _encodable(f"{type(error).__module__}.{type(error).__qualname__}: {text[:TEXT_LIMIT]}")


def _encodable(text: str) -> str:
    """Without lone surrogates, which have no UTF-8."""
    return text.encode("utf-8", "replace").decode()


def trace_of(error: BaseException) -> str:
    """The traceback as text, without the frames of the worker itself, at most 64 KiB of it."""
    shown = error.__traceback__
    # The outermost frames are the worker's own, which called the user's function.
    while shown is not None and shown.tb_frame.f_globals.get("__name__", "").startswith("distpool.runtime."):
        shown = shown.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, shown))
    except BaseException:
        text = _summary_of(error)
    if len(text) > TEXT_LIMIT:
        text = text[: TEXT_LIMIT // 2] + "\n[...]\n" + text[-TEXT_LIMIT // 2 :]
    return _encodable(text)


def _parts_of(error: BaseException) -> bytes | None:
    """The class, and those arguments and attributes that can be pickled."""
    if isinstance(error, BaseExceptionGroup):
        # Each of its exceptions travels by itself, as the group would without the awkward ones.
        members = [encode_failure(member) for member in error.exceptions]
        group = (type(error), (error.message, members), {"__notes__": getattr(error, "__notes__", [])})
        return standard_dumps(group) if _survives(group) else None
    args = tuple(value if _survives(value) else _safe_repr(value) for value in error.args)
    attributes = {name: value for name, value in error.__dict__.items() if _survives(value)}
    parts: tuple[Any, ...] = (type(error), args, attributes)
    return standard_dumps(parts) if _survives(parts) else None


def _survives(value: object) -> bool:
    try:
        pickle.loads(standard_dumps(value))
    except BaseException:
        return False
    return True


def _safe_repr(value: object) -> str:
    try:
        return repr(value)
    except BaseException:
        return object.__repr__(value)


def _rebuild(parts: bytes) -> BaseException | None:
    try:
        kind, args, attributes = pickle.loads(parts)
        if issubclass(kind, BaseExceptionGroup):
            message, members = args
            error: BaseException = kind(message, [decode_failure(member)[0] for member in members])
            for note in attributes["__notes__"]:
                error.add_note(note)
            return error
        error = kind.__new__(kind, *args)
        error.args = args
        error.__dict__.update(attributes)
    except BaseException:
        return None
    return error


def unencodable(error: Exception, value: object) -> BaseException:
    """What the standard Pool makes of a result that cannot be pickled."""
    maybe_encoding_error: Any = import_module("multiprocessing.pool").MaybeEncodingError
    try:
        return maybe_encoding_error(error, value)  # type: ignore[no-any-return]
    except Exception:  # it shows the value, whose `repr` may fail too
        return maybe_encoding_error(error, object.__repr__(value))  # type: ignore[no-any-return]
