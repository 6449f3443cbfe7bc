"""Pairs of connected sockets that carry frames."""

from __future__ import annotations

import socket

SOCKET_BYTES = 2 * 1024 * 1024


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a lane, with room for many packets."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
    return ends
