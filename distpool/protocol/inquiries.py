"""What people are told who ask what logs say and threads do, by `AskLog` and `AskStacks` of `cluster`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from distpool.protocol.cluster import AskLog, AskStacks
from distpool.protocol.messages import Message

LOG_BYTES = 256 * 1024
"""The most of a log that is told at once."""
STACK_CHARACTERS = 16 * 1024
"""The most that is told of one process."""
STACKS_CHARACTERS = 1024 * 1024
"""The most that is told of all processes of a node."""


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
