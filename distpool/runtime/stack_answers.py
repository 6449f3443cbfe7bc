"""How a worker or agent answers the question what its threads are doing; who asks is in `stacks`.

The answer is written by C code that runs at once, also while the process waits within a system call or an extension. It
goes to a memory file, by whose name those who ask know that this process can be asked.
"""

from __future__ import annotations

import faulthandler
import fcntl
import os
import signal

SIGNAL = int(signal.SIGRTMIN) + 11
"""Of those that have no meaning. What programs use themselves are the first of them."""

FILE = "distpool-stack:"
_NAME_LIMIT = 200

_descriptors: list[int] = []


def mark_of(home: str) -> str:
    """Of a cluster, by its folder: by this its agents are told from those of others."""
    import zlib  # here, as workers do without

    return f"{zlib.crc32(os.path.realpath(home).encode()):08x}"


def answer_for_stacks(role: str, cluster: str = "") -> None:
    """From now on this process can be asked; not where its program has a use of its own for the signal, or the system
    has no memory files.

    `role`: "worker", "head", or "node" and its name. `cluster`: the mark of an agent's.
    """
    if signal.getsignal(SIGNAL) is not signal.SIG_DFL:
        return
    try:
        descriptor = os.memfd_create(f"{FILE}{cluster}:{role}"[:_NAME_LIMIT], os.MFD_CLOEXEC)
    except OSError:
        return  # of a head, which needs none; a node says so, and ends
    # Whoever asks empties it before.
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)
    faulthandler.register(SIGNAL, descriptor, all_threads=False, chain=False)
    for inherited in _descriptors:  # of the process that this one was forked from
        os.close(inherited)
    _descriptors[:] = [descriptor]
