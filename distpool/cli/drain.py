"""`distpool node --drain`: have a node leave the cluster when the calls that it runs are done, and wait for that."""

from __future__ import annotations

import sys
import time

from distpool.base_errors import DistpoolError
from distpool.ids import NodeId
from distpool.protocol.cluster import DrainNode, DrainTold
from distpool.settings import current
from distpool.transport.keys import KeyFolder, Part

_LOOK_EVERY_S = 0.25


def drain(head: str | None, node: str, limit_s: float) -> None:
    """Have it drained, and wait until it has left. `limit_s`: 0 for as long as it takes. Raises DistpoolError."""
    joined_s, began_at = _joined_s(head, node), time.monotonic()
    told = _drain(head, node, limit_s)
    if told.refusal:
        raise DistpoolError(told.refusal)
    print(f"node {node} is being drained; leases: {told.leases}", file=sys.stderr, flush=True)
    while True:
        now_s = _joined_s(head, node)
        # One that has joined since is another process of that name.
        if now_s is None or (joined_s is not None and now_s < joined_s and now_s < time.monotonic() - began_at):
            break
        time.sleep(_LOOK_EVERY_S)
    print(f"node {node} has left", flush=True)


def _drain(head: str | None, node: str, limit_s: float) -> DrainTold:
    from distpool.runtime.contact import find_head
    from distpool.runtime.joining import ask, join

    settings = current().constants
    folder = KeyFolder.of_user()
    remote = join(find_head(head, folder), "drain", folder.identity(Part.DRIVER), settings)
    try:
        return ask(remote, DrainNode(NodeId(node), limit_s), DrainTold, settings)
    finally:
        remote.leave()


def _joined_s(head: str | None, node: str) -> float | None:
    """How long ago it joined; None when it is not there."""
    from distpool.runtime.asking import asked_status

    return next((about.joined_s for about in asked_status(head).nodes if about.node == node), None)
