"""Payloads that are sent from where they lie: kept until they have left, and no longer."""

import subprocess
import sys
import time

import pytest
import zmq

from distpool.transport.payloads import uncopied

pytestmark = pytest.mark.usefixtures("pyzmq_thread")

LIMIT_S = 30.0
SIZE = 1024 * 1024


def is_free(memory):
    """Whether nobody has a view of it."""
    try:
        memory.append(0)
    except BufferError:
        return False
    return True


@pytest.mark.parametrize("size", [SIZE, 100])
def test_what_is_sent_arrives_and_is_let_go_of_then(size):
    with zmq.Context() as context, context.socket(zmq.PUSH) as sender, context.socket(zmq.PULL) as receiver:
        receiver.rcvtimeo = int(LIMIT_S * 1000)
        sender.connect(f"tcp://127.0.0.1:{receiver.bind_to_random_port('tcp://127.0.0.1')}")
        memory = bytearray(range(100)) * (size // 100)
        expected = bytes(memory)
        sender.send_multipart([b"header", uncopied(memoryview(memory))])
        assert receiver.recv_multipart() == [b"header", expected]
        give_up_at = time.monotonic() + LIMIT_S
        while not is_free(memory):
            assert time.monotonic() < give_up_at
            time.sleep(0.001)


def test_a_large_payload_is_kept_until_it_has_left():
    with zmq.Context() as context, context.socket(zmq.PUSH) as sender:
        sender.linger = 0
        memory = bytearray(SIZE)
        sender.bind_to_random_port("tcp://127.0.0.1")
        frame = uncopied(memoryview(memory))
        assert not is_free(memory)
        del frame


AT_EXIT = """
import atexit
import zmq
from distpool.transport.payloads import uncopied

payload = memoryview(bytes(1024 * 1024))

def send_late():
    with zmq.Context() as context, context.socket(zmq.PAIR) as one, context.socket(zmq.PAIR) as other:
        one.bind("inproc://here")
        other.connect("inproc://here")
        one.send(uncopied(payload))
        print(len(other.recv()))

atexit.register(send_late)
uncopied(payload)
"""


def test_what_is_sent_while_the_interpreter_ends_arrives_too():
    done = subprocess.run([sys.executable, "-c", AT_EXIT], capture_output=True, text=True, timeout=LIMIT_S)
    assert (done.stdout, done.stderr, done.returncode) == (f"{SIZE}\n", "", 0)
