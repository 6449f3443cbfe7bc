"""Large payloads of ZeroMQ's messages, sent from where they lie.

ZeroMQ tells pyzmq when it needs one no more, and a thread of pyzmq's lets go of it then. That thread starts with the
first of them, and stays: others in this process who use pyzmq may need it too.
"""

from __future__ import annotations

import zmq

Frame = bytes | memoryview | zmq.Frame


def uncopied(payload: memoryview) -> Frame:
    """A frame that is sent from the payload's own memory, which must not change before it has left. Small ones are
    copied. To copy a large one costs a third of what encrypting does, as its memory is fresh pages each time."""
    try:
        return zmq.Frame(payload)
    except RuntimeError:
        return payload  # the interpreter ends, and that thread has ended
