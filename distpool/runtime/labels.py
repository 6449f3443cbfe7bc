"""What workers on nodes print and log, with the name of the node before each line."""

from __future__ import annotations

import re

import msgspec

from distpool.ids import LeaseId
from distpool.protocol.cluster import FromWorker, WorkerPrinted
from distpool.protocol.codec import decode_from_worker
from distpool.protocol.messages import Message, WorkerLogged

# A progress bar writes its line again and again after a carriage return alone. An empty line stays empty.
_LINE_START = re.compile(rb"(?<=[\r\n])(?=[^\r\n])")
_ENDS = (b"\n", b"\r")


class Labels:
    """A line may come in pieces: each worker's stream is followed from one to the next."""

    def __init__(self, *, is_on: bool) -> None:
        self._is_on = is_on
        # What has printed a part of a line.
        self._in_line: set[tuple[LeaseId, str]] = set()

    def open(self, told: FromWorker) -> Message:
        """What the worker has said. Raises ProtocolError."""
        message: Message = decode_from_worker(told.frame)
        if not (self._is_on and told.node):
            return message
        if isinstance(message, WorkerPrinted):
            return WorkerPrinted(message.stream, self._labelled(told, message))
        return msgspec.structs.replace(message, node=told.node) if isinstance(message, WorkerLogged) else message

    def forget(self, lease: LeaseId) -> None:
        """Its worker has ended."""
        self._in_line -= {(lease, "stdout"), (lease, "stderr")}

    def _labelled(self, told: FromWorker, printed: WorkerPrinted) -> bytes:
        label = f"[{told.node}] ".encode()
        stream = (told.lease, printed.stream)
        text = _LINE_START.sub(lambda _: label, printed.text)
        if stream not in self._in_line and not printed.text.startswith(_ENDS):
            text = label + text
        if printed.text.endswith(_ENDS):
            self._in_line.discard(stream)
        else:
            self._in_line.add(stream)
        return text
