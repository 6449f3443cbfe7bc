"""The messages by which people learn what is going on in a cluster: who is there, what logs say, what threads do."""

from __future__ import annotations

from typing import Annotated

import msgspec

from distpool.ids import NodeId
from distpool.protocol.messages import Message

LOG_BYTES = 256 * 1024
"""The most of a log that is told at once."""
STACK_CHARACTERS = 16 * 1024
"""The most that is told of one process."""
STACKS_CHARACTERS = 1024 * 1024
"""The most that is told of all processes of a node."""


class AskLog(Message, tag=180, frozen=True):
    """Driver to head, head to node: what does your own log say? `node`: or "head". `number`: of the question, by which
    its answer is known. `file`, `offset`: of a place in the log that was told, after which to go on; without it the
    last of the log is asked for."""

    node: NodeId
    number: int
    file: int = 0
    offset: int = 0


class AskStacks(Message, tag=181, frozen=True):
    """Driver to head, head to node: what do your threads do now, and your workers'?"""

    node: NodeId
    number: int


class LogTold(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """Lines of the log. `file`, `offset`: the place where they end. `where`: machine and path of the log, for
    people."""

    text: Annotated[str, msgspec.Meta(max_length=LOG_BYTES)]
    file: int
    offset: int
    where: str


class ProcessStack(msgspec.Struct, array_like=True, frozen=True):
    """What the threads of a process do, or in brackets why that is not known. `role`: "worker", "head", or "node" and
    its name."""

    pid: int
    role: str
    stack: Annotated[str, msgspec.Meta(max_length=STACK_CHARACTERS)]


class StacksTold(msgspec.Struct, array_like=True, frozen=True, tag=2):
    """The node's own process and its workers."""

    processes: list[ProcessStack]


class NotTold(msgspec.Struct, array_like=True, frozen=True, tag=3):
    """There is no answer, and why."""

    why: str


class NodeTold(Message, tag=182, frozen=True):
    """Node to head, head to driver: the answer to the question of this number."""

    number: int
    answer: LogTold | StacksTold | NotTold


Question = AskLog | AskStacks
