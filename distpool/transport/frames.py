"""Frames over a SEQPACKET socket. What does not fit a packet travels as a memfd, whose descriptor is the packet."""

from __future__ import annotations

import array
import errno
import mmap
import os
import socket
from collections import deque
from typing import Any

from distpool.config import SETTINGS
from distpool.protocol.codec import Buffer

_SIZE_BYTES = 8
_PACKET_BYTES = SETTINGS.inline_frame_bytes
_ONE_DESCRIPTOR = socket.CMSG_SPACE(array.array("i").itemsize)
_IOV_LIMIT = 512
# Plain integers: arithmetic with the enums of `socket` takes microseconds.
_CLOEXEC = int(socket.MSG_CMSG_CLOEXEC)
_TRUNCATED = int(socket.MSG_CTRUNC)
DONT_WAIT = int(socket.MSG_DONTWAIT)


Packet = tuple[bytes, list[tuple[int, int, bytes]], int, Any]
"""What `recvmsg` gives."""


def send_frame(sock: socket.socket, frame: list[Buffer], flags: int = 0) -> None:
    """Send one frame. Raises BlockingIOError, with nothing sent, when the socket is full and does not block, or when
    the receiver has to read large frames before there may be more of them."""
    if len(frame) == 1 and len(frame[0]) <= _PACKET_BYTES:
        sock.send(frame[0], flags)
        return
    size = sum(map(len, frame))
    if size <= _PACKET_BYTES:
        sock.send(b"".join(frame), flags)
        return
    memory = os.memfd_create("distpool-frame", os.MFD_CLOEXEC)
    try:
        # Reserved first: a full machine is an exception here and not a bus error in the reader.
        os.posix_fallocate(memory, 0, size)
        _write_all(memory, frame)
        descriptor = array.array("i", [memory])
        sock.sendmsg(
            [size.to_bytes(_SIZE_BYTES, "little")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptor)], flags
        )
    except OSError as error:
        if error.errno == errno.ETOOMANYREFS:
            raise BlockingIOError(error.errno, error.strerror) from error
        raise
    finally:
        os.close(memory)


def receive_frame(
    sock: socket.socket, flags: int = 0, *, mapped: bool = False, passed: list[int] | None = None
) -> Buffer:
    """The next frame, empty at the end of the stream. Raises BlockingIOError when flags forbid to wait for it.

    `mapped`: a large frame stays in the memory that it came in, and keeps a descriptor for as long as it is used.
    `passed`: gets the descriptor that a short frame came with (see `send_with_descriptors`).
    """
    return frame_of(sock.recvmsg(_PACKET_BYTES, _ONE_DESCRIPTOR, flags | _CLOEXEC), mapped=mapped, passed=passed)


def take_packet(sock: socket.socket, taken: deque[Packet]) -> None:
    """Add what the next frame is made of. Raises BlockingIOError when there is none. Whatever a signal's handler
    raises, what has left the kernel is in `taken`: between the two, Python looks at no signal."""
    taken.extend(map(sock.recvmsg, (_PACKET_BYTES,), (_ONE_DESCRIPTOR,), (DONT_WAIT | _CLOEXEC,)))


def frame_of(received: Packet, *, mapped: bool = False, passed: list[int] | None = None) -> Buffer:
    """See `receive_frame`."""
    packet, ancillary, got, _ = received
    if not ancillary:
        if got & _TRUNCATED:
            raise OSError(errno.EMFILE, "no descriptor was free for a large frame: raise the limit on open files")
        return packet
    memory = array.array("i", ancillary[0][2])[0]
    if passed is not None and len(packet) != _SIZE_BYTES:
        passed.append(memory)
        return packet
    size = int.from_bytes(packet, "little")
    try:
        if mapped:
            return memoryview(mmap.mmap(memory, size, prot=mmap.PROT_READ))
        buffer = memoryview(bytearray(size))
        read = 0
        while read < size:  # the kernel gives at most 2 GiB at once
            more = os.preadv(memory, [buffer[read:]], read)
            if not more:
                raise OSError(errno.EIO, f"a large frame has {read} bytes instead of {size}")
            read += more
        return buffer
    finally:
        os.close(memory)


def send_with_descriptors(sock: socket.socket, frame: list[Buffer], descriptors: list[int]) -> None:
    """A short frame and descriptors that the receiver gets copies of. Raises BlockingIOError as `send_frame` does."""
    rights = array.array("i", descriptors)
    try:
        sock.sendmsg([b"".join(frame)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    except OSError as error:
        if error.errno == errno.ETOOMANYREFS:
            raise BlockingIOError(error.errno, error.strerror) from error
        raise


def receive_with_descriptors(sock: socket.socket, most: int, flags: int = 0) -> tuple[bytes, list[int]]:
    """A short frame and the descriptors that came with it, close-on-exec."""
    packet, ancillary, _, _ = sock.recvmsg(
        _PACKET_BYTES, socket.CMSG_SPACE(most * array.array("i").itemsize), flags | _CLOEXEC
    )
    descriptors = array.array("i")
    for _, _, rights in ancillary:
        descriptors.frombytes(rights)
    return packet, list(descriptors)


def _write_all(memory: int, frame: list[Buffer]) -> None:
    for first in range(0, len(frame), _IOV_LIMIT):
        run = [memoryview(buffer) for buffer in frame[first : first + _IOV_LIMIT]]
        while run:
            written = os.writev(memory, run)
            while run and written >= len(run[0]):
                written -= len(run.pop(0))
            if run:
                run[0] = run[0][written:]
