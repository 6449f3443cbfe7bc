"""Which entries of a folder are left out: the patterns of a file with gitignore's syntax."""

from __future__ import annotations

import re
from typing import NamedTuple


class Rule(NamedTuple):
    """One line. `leaves_out`: False where it begins with "!"."""

    pattern: re.Pattern[str]
    leaves_out: bool
    folders_only: bool


class IgnoreRules:
    """The last rule that matches decides. What lies in a folder that is left out is not asked about."""

    def __init__(self, text: str) -> None:
        self._rules = [rule for line in text.splitlines() if (rule := _rule(line)) is not None]

    def leave_out(self, path: str, *, is_folder: bool) -> bool:
        """Of a path below the file's folder, with "/" between its parts."""
        for rule in reversed(self._rules):
            if (is_folder or not rule.folders_only) and rule.pattern.fullmatch(path):
                return rule.leaves_out
        return False


def _rule(line: str) -> Rule | None:
    if not line.endswith("\\ "):
        line = line.rstrip()
    if not line or line.startswith("#"):
        return None
    leaves_out = not line.startswith("!")
    line = line.removeprefix("!")
    folders_only = line.endswith("/")
    line = line.rstrip("/")
    if not line:
        return None
    is_anchored = "/" in line
    expression = _expression(line.removeprefix("/"))
    return Rule(re.compile(expression if is_anchored else f"(?:.*/)?{expression}", re.DOTALL), leaves_out, folders_only)


_TOKEN = re.compile(
    r"""
    (?P<within> (?<=/)\*\*/ | ^\*\*/ )      # any number of folders
    | (?P<below> (?<=/)\*\*$ )              # all that is in the folder
    | (?P<stars> \*+ )
    | (?P<one> \? )
    | (?P<set> \[ [!^]? (?: \] [^]]* | [^]]+ ) \] )
    | \\ (?P<escaped> . )
    | (?P<plain> . )
    """,
    re.VERBOSE | re.DOTALL,
)


def _expression(pattern: str) -> str:
    parts = []
    for token in _TOKEN.finditer(pattern):
        match token.lastgroup:
            case "within":
                parts.append("(?:.*/)?")
            case "below":
                parts.append(".+")
            case "stars":
                parts.append("[^/]*")
            case "one":
                parts.append("[^/]")
            case "set":
                parts.append(f"(?!/){_set(token[0])}")
            case name:
                parts.append(re.escape(token[name or "plain"]))
    return "".join(parts)


def _set(text: str) -> str:
    """A range the wrong way round is no set, but the characters as they are."""
    inner = text[1:-1]
    negation = "^" if inner[0] in "!^" else ""
    members = [
        f"{_member(first)}-{_member(last)}" if last else _member(first)
        for first, last in _MEMBER.findall(inner, len(negation))
    ]
    expression = f"[{negation}{''.join(members)}]"
    try:
        re.compile(expression)
    except re.error:
        return re.escape(text)
    return expression


_MEMBER = re.compile(r"(\\.|.)(?:-(\\.|.))?", re.DOTALL)
"""One character of a set, or the first and the last one of a range."""


def _member(character: str) -> str:
    return re.escape(character[-1])
