"""Questions of drivers to nodes that have not been answered yet: whom the head passes which answer on to."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

import msgspec

from distpool.ids import Address, NodeId
from distpool.logic.outbox import Outbox
from distpool.protocol.cluster import AskLog, AskStacks
from distpool.protocol.inquiries import NodeTold, NotTold, Question

_MOST_OPEN = 64


class Open(msgspec.Struct):
    """A question on its way. `number`: by which its asker knows it."""

    asker: Address
    number: int
    asked: Address
    node: NodeId


class Questions:
    """Each is answered once: by the node that was asked, or by its loss."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._numbers = count(1)
        self._open: dict[int, Open] = {}

    def hear(self, sender: Address, message: object, nodes: Mapping[NodeId, Address]) -> bool:
        """Whether it is a question or an answer. `nodes`: those that are there."""
        match message:
            case AskLog() | AskStacks():
                self.ask(sender, message, nodes)
            case NodeTold():
                self.answer(sender, message)
            case _:
                return False
        return True

    def ask(self, asker: Address, question: Question, nodes: Mapping[NodeId, Address]) -> None:
        """Pass it on to its node, or say why not. `nodes`: those that are there."""
        node = question.node
        if node not in nodes:
            names = ", ".join(sorted(nodes)) or "none"
            self._refuse(asker, question.number, f"there is no node {node!r}; there are: {names}")
        elif len(self._open) >= _MOST_OPEN:
            self._refuse(asker, question.number, f"{_MOST_OPEN} questions wait for their answers already: ask again")
        else:
            number = next(self._numbers)
            self._open[number] = Open(asker, question.number, nodes[node], node)
            self._outbox.put(nodes[node], msgspec.structs.replace(question, number=number))

    def answer(self, sender: Address, answer: NodeTold) -> None:
        """What is no answer of the node that was asked is dropped."""
        asked = self._open.get(answer.number)
        if asked is not None and asked.asked == sender:
            del self._open[answer.number]
            self._outbox.put(asked.asker, msgspec.structs.replace(answer, number=asked.number))

    def forget(self, member: Address) -> None:
        """It has left, or is lost: a node with what it was asked, a driver with what it has asked."""
        for number, asked in list(self._open.items()):
            if member == asked.asked:
                self._refuse(asked.asker, asked.number, f"node {asked.node!r} left, or was lost, before it answered")
            if member in (asked.asked, asked.asker):
                del self._open[number]

    def _refuse(self, asker: Address, number: int, why: str) -> None:
        self._outbox.put(asker, NodeTold(number, NotTold(why)))
