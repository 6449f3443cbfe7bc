"""Links between processes that are not a caller and its worker: messages over ZeroMQ, on sockets in a private folder.

One end listens and knows its peers by their names, the other connects. A link says nothing about what its messages
mean; between machines, where connections break, it will need sequence numbers of its own (see docs/architecture.md).
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import Any

import zmq

from distpool.base_errors import DistpoolError
from distpool.protocol.codec import decode_link, encode
from distpool.protocol.messages import Message
from distpool.transport.private_files import make_private_folder

_PATH_LIMIT = 100
"""A Unix socket's path may have 107 bytes."""


class SocketFolder:
    """A folder of mode 0700 that one process at a time listens in: a second bind would silently steal a socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        make_private_folder(path)
        self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise DistpoolError(f"another process listens in {path}: stop it, or choose another folder") from None

    @classmethod
    def make(cls) -> SocketFolder:
        """A new one, in the user's runtime folder or, where that is missing or its path too long, the temporary one."""
        for parent in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir()):
            if parent and len(parent) < _PATH_LIMIT - 30 and os.access(parent, os.W_OK):
                return cls(Path(tempfile.mkdtemp(prefix="distpool-", dir=parent)))
        raise DistpoolError(
            "no folder for sockets: set XDG_RUNTIME_DIR or TMPDIR to a writable folder with a short path"
        )

    def endpoint(self, name: str) -> str:
        """The address of a socket in this folder."""
        return f"ipc://{self.path / name}"

    def remove(self) -> None:
        """Remove the folder and what is in it."""
        for entry in self.path.iterdir():
            entry.unlink()
        self.path.rmdir()
        os.close(self._lock)


class Listener:
    """The end that peers connect to."""

    def __init__(self, endpoint: str) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.bind(endpoint)

    def send(self, peer: str, message: Message) -> None:
        """Raises zmq.ZMQError (EHOSTUNREACH) when no such peer is connected."""
        self._socket.send_multipart([peer.encode(), *encode(message)])

    def receive(self, timeout_s: float | None = None) -> list[tuple[str, Any]]:
        """All messages that have come, with their senders' names; waits for the first. Raises ProtocolError."""
        if not self._socket.poll(None if timeout_s is None else int(timeout_s * 1000)):
            return []
        messages = []
        while int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            peer, frame = self._socket.recv_multipart()
            messages.append((peer.decode(errors="replace"), decode_link(frame)))
        return messages

    def close(self) -> None:
        self._socket.close(linger=0)
        self._context.term()


class Connection:
    """The end that connects, under a name that is its own."""

    def __init__(self, endpoint: str, name: str) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.IDENTITY, name.encode())
        self._socket.connect(endpoint)

    def fileno(self) -> int:
        """A descriptor for a poll: edge-triggered, so `receive` is to be asked after each `send` too."""
        return int(self._socket.getsockopt(zmq.FD))

    def send(self, message: Message) -> None:
        self._socket.send_multipart(encode(message))

    def receive(self) -> list[Any]:
        """All messages that have come. Does not wait. Raises ProtocolError."""
        messages = []
        while int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            messages.append(decode_link(b"".join(self._socket.recv_multipart())))
        return messages

    def close(self) -> None:
        self._socket.close(linger=0)
        self._context.term()
