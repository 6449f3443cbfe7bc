"""Frames between the processes of a cluster, in words."""

from __future__ import annotations

from distpool.protocol.cluster import FromWorker, ToWorker
from distpool.protocol.codec import decode_from_worker, decode_header, decode_link, decode_to_worker
from tests.simulation.transcript import words


class Words:
    """A frame in the transcript, decoded only when somebody wants to read it."""

    def __init__(self, frames: list[bytes]) -> None:
        self._frames = frames

    def __repr__(self) -> str:
        header = decode_header(self._frames[0])
        message = decode_link(b"".join(self._frames[1:]))
        if isinstance(message, ToWorker | FromWorker):
            decode = decode_to_worker if isinstance(message, ToWorker) else decode_from_worker
            return f"#{header.number} {type(message).__name__} {message.lease}: {words(decode(message.frame))}"
        return f"#{header.number} {message!r}"
