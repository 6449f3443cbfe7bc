"""Texts of others in what people read: no character in them moves a cursor, ends a line or turns its direction."""

from __future__ import annotations

LINE_LIMIT = 200
LINES_LIMIT = 20


def shown(text: str, longest: int = LINE_LIMIT) -> str:
    """In one line: control characters and the like as `\\\\x1b`, and what is longer than so many characters cut off."""
    if len(text) > longest:
        text = f"{text[:longest]}…"
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def shown_lines(text: str) -> str:
    """The same for a text that may have several lines, a table for instance."""
    return "\n".join(map(shown, text.split("\n")[:LINES_LIMIT]))
