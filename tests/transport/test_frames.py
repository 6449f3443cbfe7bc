"""Frames over a real socket pair: inline or in a memory file, the end, a full socket, and descriptors that travel."""

import errno
import os
import resource
import socket
import threading
from collections.abc import Iterator

import pytest

from distpool.config import SETTINGS
from distpool.transport.frames import (
    receive_frame,
    receive_with_descriptors,
    send_frame,
    send_with_descriptors,
)
from distpool.transport.pairs import socket_pair

LIMIT = SETTINGS.inline_frame_bytes


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket_pair()
    for end in (ours, theirs):
        end.settimeout(20)
    yield ours, theirs
    ours.close()
    theirs.close()


def descriptors_of_memory_files() -> int:
    count = 0
    for entry in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{entry}").startswith("/memfd:distpool-frame")
        except FileNotFoundError:
            continue
    return count


def pattern(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


@pytest.mark.parametrize("size", [1, 100, LIMIT - 1, LIMIT, LIMIT + 1, LIMIT + 4096, 5_000_000])
@pytest.mark.parametrize("parts", [1, 2, 7])
def test_a_frame_arrives_whole_and_alone(ends, size, parts):
    ours, theirs = ends
    whole = pattern(size)
    step = -(-size // parts)
    send_frame(ours, [whole[at : at + step] for at in range(0, size, step)])
    send_frame(ours, [b"next"])
    received = receive_frame(theirs)
    assert received == whole
    assert isinstance(received, memoryview) is (size > LIMIT)
    assert receive_frame(theirs) == b"next"


@pytest.mark.parametrize("count", [511, 512, 513, 1025, 3000])
@pytest.mark.parametrize("size", [3, 500])
def test_a_frame_of_more_buffers_than_one_write_takes(ends, count, size):
    ours, theirs = ends
    buffers = [number.to_bytes(3, "little") * (size // 3) for number in range(count)]
    send_frame(ours, buffers)
    assert receive_frame(theirs) == b"".join(buffers)


def test_empty_buffers_do_no_harm(ends):
    ours, theirs = ends
    large = pattern(LIMIT + 1)
    send_frame(ours, [b"", b"a", b"", b"b", b""])
    send_frame(ours, [b"", large, b"", b"", b"end", b""])
    assert receive_frame(theirs) == b"ab"
    assert receive_frame(theirs) == large + b"end"


def test_any_buffer_may_be_sent(ends):
    ours, theirs = ends
    large = pattern(200_000)
    for buffers in ([memoryview(b"abc")], [bytearray(b"abc")], [memoryview(large)[1:], memoryview(b"end")]):
        send_frame(ours, buffers)
        assert receive_frame(theirs) == b"".join(buffers)


def test_a_large_frame_is_mapped_and_outlives_the_sockets(ends):
    ours, theirs = ends
    whole = pattern(1_000_000)
    send_frame(ours, [whole])
    received = receive_frame(theirs, mapped=True)
    ours.close()
    theirs.close()
    assert received == whole
    assert received.readonly


def test_the_end_of_the_stream_is_an_empty_frame(ends):
    ours, theirs = ends
    send_frame(ours, [b"last"])
    ours.close()
    assert receive_frame(theirs) == b"last"
    assert receive_frame(theirs) == b""
    assert receive_frame(theirs) == b""


def test_sending_to_a_closed_end_is_a_broken_pipe(ends):
    ours, theirs = ends
    theirs.close()
    for size in (1, LIMIT + 1):
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            send_frame(ours, [bytes(size)])


def test_nothing_to_receive_is_a_blocking_error(ends):
    ours, theirs = ends
    theirs.setblocking(True)
    with pytest.raises(BlockingIOError):
        receive_frame(theirs, socket.MSG_DONTWAIT)
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        receive_frame(theirs)
    send_frame(ours, [b"there"])
    assert receive_frame(theirs) == b"there"


@pytest.mark.parametrize("size", [1000, LIMIT, LIMIT + 1])
def test_a_full_socket_takes_nothing_of_a_frame(ends, size):
    ours, theirs = ends
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 200_000)
    ours.setblocking(False)
    before = descriptors_of_memory_files()
    sent = 0
    while sent < 100_000:
        try:
            send_frame(ours, [sent.to_bytes(8, "little"), bytes(size - 8)])
        except BlockingIOError:
            break
        sent += 1
    else:
        pytest.fail("the socket has no end")
    assert descriptors_of_memory_files() == before, "the frame that was not sent has left its memory"
    theirs.setblocking(False)
    received = [bytes(receive_frame(theirs)[:8]) for _ in range(sent)]
    assert received == [number.to_bytes(8, "little") for number in range(sent)]
    with pytest.raises(BlockingIOError):
        receive_frame(theirs)
    send_frame(ours, [bytes(size)])
    assert len(receive_frame(theirs)) == size


def test_a_sender_that_may_block_waits_for_room(ends):
    ours, theirs = ends
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20_000)
    frames = [number.to_bytes(2, "little") * 2000 for number in range(100)]
    sender = threading.Thread(target=lambda: [send_frame(ours, [frame]) for frame in frames])
    sender.start()
    received = [receive_frame(theirs) for _ in frames]
    sender.join(20)
    assert received == frames


def test_memory_that_cannot_be_had_is_an_error_and_leaves_nothing(ends, monkeypatch):
    ours, theirs = ends

    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    before = descriptors_of_memory_files()
    monkeypatch.setattr(os, "posix_fallocate", no_space)
    with pytest.raises(OSError, match="no space"):
        send_frame(ours, [bytes(LIMIT + 1)])
    assert descriptors_of_memory_files() == before
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        receive_frame(theirs)


def test_a_frame_whose_descriptor_found_no_room_is_an_error_and_no_frame(ends):
    """The kernel then delivers the packet without it; its eight bytes must not pass for a message."""
    ours, theirs = ends
    send_frame(ours, [bytes(LIMIT + 1)])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        with pytest.raises(OSError, match=r"descriptor|open files"):
            receive_frame(theirs)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ---- descriptors


@pytest.mark.parametrize("count", [1, 2])
def test_descriptors_travel_with_a_frame(ends, count):
    ours, theirs = ends
    pipes = [os.pipe() for _ in range(count)]
    send_with_descriptors(ours, [b"a", b"b"], [write_end for _, write_end in pipes])
    frame, arrived = receive_with_descriptors(theirs, 2)
    assert frame == b"ab"
    assert len(arrived) == count
    for (read_end, write_end), copy in zip(pipes, arrived, strict=True):
        assert not os.get_inheritable(copy)
        os.close(write_end)
        os.write(copy, b"by the copy")
        os.close(copy)
        assert os.read(read_end, 100) == b"by the copy"
        assert os.read(read_end, 100) == b"", "no other copy of the descriptor is left"
        os.close(read_end)


def test_a_frame_without_descriptors_and_the_end(ends):
    ours, theirs = ends
    send_frame(ours, [b"plain"])
    assert receive_with_descriptors(theirs, 2) == (b"plain", [])
    ours.close()
    assert receive_with_descriptors(theirs, 2) == (b"", [])


def test_what_is_received_is_not_inherited(ends):
    ours, theirs = ends
    for end in (ours, theirs):
        assert not os.get_inheritable(end.fileno())
