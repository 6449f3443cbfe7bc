"""The name of the node before each line that a worker prints."""

import pytest

from distpool.ids import LeaseId
from distpool.protocol.cluster import FromWorker, WorkerPrinted
from distpool.protocol.codec import encode
from distpool.protocol.messages import WorkerLogged, WorkerReady
from distpool.runtime.labels import Labels


def told(message, lease=1, node="gpu-1"):
    return FromWorker(LeaseId(lease), b"".join(encode(message)), node)


def printed(labels, *pieces, lease=1, stream="stdout"):
    """As it arrives, piece by piece."""
    return b"".join(labels.open(told(WorkerPrinted(stream, piece), lease)).text for piece in pieces)


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        ([b"one\ntwo\n"], b"[gpu-1] one\n[gpu-1] two\n"),
        ([b"one\n", b"two\n"], b"[gpu-1] one\n[gpu-1] two\n"),
        ([b"load", b"ing", b" done\nnext\n"], b"[gpu-1] loading done\n[gpu-1] next\n"),
        ([b"\n\none\r\n"], b"\n\n[gpu-1] one\r\n"),
        ([b"\r", b" 10%", b"\r", b" 20%", b"\n"], b"\r[gpu-1]  10%\r[gpu-1]  20%\n"),
        ([b"\xff\n"], b"[gpu-1] \xff\n"),
    ],
)
def test_it_stands_at_the_beginning_of_each_line_however_the_text_comes(pieces, shown):
    assert printed(Labels(is_on=True), *pieces) == shown


def test_each_stream_of_each_worker_has_lines_of_its_own():
    labels = Labels(is_on=True)
    assert printed(labels, b"half") == b"[gpu-1] half"
    assert printed(labels, b"other", lease=2) == b"[gpu-1] other"
    assert printed(labels, b"error", stream="stderr") == b"[gpu-1] error"
    assert printed(labels, b" line\n") == b" line\n"
    assert printed(labels, b" line\n", lease=2) == b" line\n"
    labels.forget(LeaseId(1))
    assert printed(labels, b"new", stream="stderr") == b"[gpu-1] new"


def test_log_records_know_their_node_and_other_messages_are_as_they_were():
    labels = Labels(is_on=True)
    assert labels.open(told(WorkerLogged(b"record"))) == WorkerLogged(b"record", "gpu-1")
    assert labels.open(told(WorkerReady())) == WorkerReady()


def test_it_can_be_turned_off():
    labels = Labels(is_on=False)
    assert printed(labels, b"one\ntwo\n") == b"one\ntwo\n"
    assert labels.open(told(WorkerLogged(b"record"))) == WorkerLogged(b"record")
