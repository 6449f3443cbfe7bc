"""What a worker's death means for the call that it had begun: run it again, run the rest of its chunk, or say how it
was lost. Who gets the calls that had not begun is left to `Group`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from distpool.ids import FunctionId
from distpool.logic.calls import Bundle, Outcome, Sink, Span
from distpool.protocol.messages import CHUNK_MODES, CallMode, Death, FunctionBlob, Loss, OutcomeKind

_SIGNALS = {
    1: "SIGHUP",
    2: "SIGINT",
    3: "SIGQUIT",
    4: "SIGILL",
    5: "SIGTRAP",
    6: "SIGABRT",
    7: "SIGBUS",
    8: "SIGFPE",
    9: "SIGKILL",
    10: "SIGUSR1",
    11: "SIGSEGV",
    12: "SIGUSR2",
    13: "SIGPIPE",
    14: "SIGALRM",
    15: "SIGTERM",
    24: "SIGXCPU",
    25: "SIGXFSZ",
    31: "SIGSYS",
}
_CRASHES = frozenset({4, 6, 7, 8, 11})
_KILLS = frozenset({-9, -15})
_MIB = 1024 * 1024


class Remainder:
    """The sink of a chunk's items that had not begun when its worker died: they run, and then the loss is told."""

    def __init__(self, sink: Sink, loss: Outcome) -> None:
        self._sink = sink
        self._loss = loss

    def begin(self) -> bool:
        return True

    def put_back(self) -> None:
        """It cannot be cancelled: its loss is to be told."""

    def deliver(self, first: int, outcomes: list[Outcome]) -> None:
        self._sink.deliver(first, [self._loss])


def call_to_repeat(span: Span) -> Span | None:
    """The lost call of `span` once more, if its caller allows it."""
    bundle = span.bundle
    if bundle.attempts >= bundle.options.retries:
        return None
    return _single(span, bundle.sink, bundle.skip, bundle.attempts + 1)


def name_of(functions: Mapping[FunctionId, FunctionBlob], span: Span) -> str:
    """Of the function that the calls of a span apply; empty where it is not known."""
    blob = functions.get(span.bundle.function)
    return "" if blob is None else blob.name


def may_repeat(spans: list[Span]) -> bool:
    """There are lost calls, and the callers of all of them allow it."""
    return bool(spans) and all(span.bundle.attempts < span.bundle.options.retries for span in spans)


def rest_of_chunk(span: Span, items_begun: int, loss: Outcome) -> Span | None:
    """The items of a lost chunk that had not begun; their results are not wanted, but what they do is."""
    bundle = span.bundle
    if bundle.mode not in CHUNK_MODES or not items_begun:
        return None
    sink = bundle.sink
    if not isinstance(sink, Remainder):
        sink = Remainder(sink, loss)
    return _single(span, sink, bundle.skip + items_begun, bundle.attempts)


def loss_of(span: Span, death: Death, name: str) -> Outcome:
    """What the caller of the lost call of `span` is told."""
    bundle = span.bundle
    what = describe_call(span, name, death.items_begun)
    text = f"{describe_end(death)} while it ran {what}."
    if death.peak_memory_bytes:
        text += f" Its memory peaked at {_size(death.peak_memory_bytes)}."
    if death.memory_ran_out:
        text += f" {death.note}"
    if death.stderr:
        lines = "\n".join(f"    {line}" for line in death.stderr.splitlines())
        text += f"\nIts last lines on stderr:\n{lines}"
    text += ("\n" if death.stderr or death.memory_ran_out else " ") + _remedy(death)
    if bundle.attempts:
        text += f" The call was begun {bundle.attempts + 1} times."
    else:
        text += " The call was not run again, as it may have had effects; with_options(retries=1) allows it."
    return OutcomeKind.LOST, msgspec.msgpack.encode(Loss(text, bundle.name or name, death))


def was_killed_early(death: Death) -> bool:
    """A worker was ended from outside before its initializer began: that says little about the next one."""
    return death.exitcode in _KILLS and not death.items_begun


def start_failure_text(death: Death, failures: int, traceback: bytes | None) -> str:
    """Why no worker of a pool becomes ready, after so many have failed in a row."""
    text = "a worker could not be started" if death.note else f"{describe_end(death)} before it was ready to take calls"
    if failures > 1:
        text += f", as {failures - 1} before it"
    if death.note:
        text += f": {death.note}"
    return text if traceback is None else text + ".\n" + traceback.decode(errors="replace")


def describe_call(span: Span, name: str, items_begun: int = 0) -> str:
    """The first call of a span: the name of its function, and which item it has."""
    return (span.bundle.name or name or "a call") + _item_of(span, items_begun)


def describe_end(death: Death) -> str:
    """Who ended, and how."""
    if death.node:
        return f"node {death.node!r} was lost with a worker"
    if death.memory_ran_out:
        return f"worker process {death.pid} was ended as memory was about to run out"
    return f"worker process {death.pid} {describe_exit(death.exitcode)}"


def describe_exit(exitcode: int) -> str:
    """An exit code in words: 'was killed by SIGKILL (signal 9)', 'exited with code 3'."""
    if exitcode >= 0:
        return f"exited with code {exitcode}"
    name = _SIGNALS.get(-exitcode)
    return f"was killed by signal {-exitcode}" if name is None else f"was killed by {name} (signal {-exitcode})"


def _single(span: Span, sink: Sink, skip: int, attempts: int) -> Span:
    """The first call of a span as a bundle of its own, which is sent like the others of its caller."""
    old = span.bundle
    bundle = Bundle(
        old.function,
        old.mode,
        [old.entries[span.start]],
        sink,
        old.first + span.start,
        old.entry_bytes,
        old.options,
        old.name,
        old.chunksize,
        begun=True,
        skip=skip,
        attempts=attempts,
        claims={0: claim} if (claim := (old.claims or {}).get(span.start)) is not None else None,
    )
    return Span(bundle, 0, 1)


def _item_of(span: Span, items_begun: int) -> str:
    bundle = span.bundle
    position = bundle.first + span.start
    if bundle.mode == CallMode.CALL:
        return ""
    if bundle.mode not in CHUNK_MODES:
        return f" for item {position}"
    first = position * bundle.chunksize
    if not items_begun:
        return f" for the chunk of items from {first}"
    return f" for item {first + bundle.skip + items_begun - 1}"


def _size(count: int) -> str:
    return f"{count / _MIB:.0f} MiB" if count < 1024 * _MIB else f"{count / 1024 / _MIB:.1f} GiB"


def _remedy(death: Death) -> str:
    exitcode = death.exitcode
    if death.node:
        return "Its agent has ended, its machine has stopped, or the connection to it was cut."
    if death.memory_ran_out:
        return (
            "Use fewer workers, or smaller arguments and results; the setting memory_limit says how much may be used."
        )
    if exitcode == -9:
        return (
            "SIGKILL often comes from the system when memory runs out: use fewer workers, or smaller arguments and "
            "results."
        )
    if -exitcode in _CRASHES:
        return "This is a crash in native code, of an extension module for instance."
    if exitcode < 0:
        return "Find out who sent the signal; a batch system does so at its limits, for instance."
    return "Something in the call ended the process, os._exit for instance: raise an exception instead."
