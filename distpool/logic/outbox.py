"""What a role wants done: messages to others, and calls that have ended. The loop empties it after each decision."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from distpool.ids import Address
from distpool.logic.calls import Bundle, Outcome, Span
from distpool.protocol.messages import Message, OutcomeKind

Completion = tuple[Bundle, int, list[Outcome]]
"""(bundle, its sink's number of the first call, outcomes of that and the following calls)"""


class Outbox:
    """The only way out of a role."""

    def __init__(self) -> None:
        self.messages: deque[tuple[Address, Message]] = deque()
        self.completions: deque[Completion] = deque()
        self.notes: deque[str] = deque()
        self.news: deque[Callable[[], None]] = deque()

    def put(self, to: Address, message: Message) -> None:
        self.messages.append((to, message))

    def complete(self, completions: list[Completion]) -> None:
        self.completions.extend(completions)

    def note(self, text: str) -> None:
        """Something that belongs into the log."""
        self.notes.append(text)

    def tell(self, news: Callable[[], None]) -> None:
        """To be called when every role is at rest."""
        self.news.append(news)

    def end(self, span: Span, outcome: Outcome) -> None:
        """The calls of this span end like this."""
        self.completions.append((span.bundle, span.bundle.first + span.start, [outcome] * len(span)))

    def end_all(self, spans: list[Span], kind: OutcomeKind, text: str) -> None:
        """All calls of these spans end in the same way."""
        outcome = (kind, text.encode())
        for span in spans:
            self.end(span, outcome)
