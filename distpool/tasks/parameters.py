"""What arguments a remote function takes, so that a call that can only fail is an error where it is written."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, NamedTuple

from distpool.logic.shown import shown

_TEXT_LIMIT = 200


class Parameters(NamedTuple):
    """`text`: as Python shows them, without defaults. `positional`: their names; the first `only_positional` of them
    have no other way, and the first `required` no default. `keywords`: of those that are given by name only, and
    `required_keywords` of those of them that have no default. `takes_more`, `takes_any`: *args and **kwargs."""

    text: str
    positional: list[str]
    only_positional: int
    required: int
    keywords: list[str]
    required_keywords: list[str]
    takes_more: bool
    takes_any: bool

    def check(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raises TypeError when a call of the function of that name cannot take these arguments."""
        count = len(args)
        if kwargs or self.required_keywords or count < self.required or count > len(self.positional):
            why = self._fault(count, kwargs)
            if why:
                raise TypeError(f"{name}.remote{self.text}: {why}")

    def _fault(self, count: int, kwargs: dict[str, Any]) -> str:
        """Empty when there is none."""
        positional = self.positional
        if count > len(positional) and not self.takes_more:
            return f"too many positional arguments: {count} are given"
        by_name = [*positional[self.only_positional :], *self.keywords]
        for name in kwargs:
            if name in positional[self.only_positional : count]:
                return f"multiple values for argument {name!r}"
            if name not in by_name and not self.takes_any:
                close = get_close_matches(name, by_name, 1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                return f"got an unexpected keyword argument {name!r}{hint}"
        missing = [
            name
            for place, name in enumerate(positional[count : self.required], count)
            if place < self.only_positional or name not in kwargs
        ]
        missing += [name for name in self.required_keywords if name not in kwargs]
        if missing:
            return f"missing {'a required argument' if len(missing) == 1 else 'required arguments'}: {_listed(missing)}"
        return ""


def parameters_of(function: Callable[..., Any], *, is_method: bool = False) -> Parameters | None:
    """None when they are not known: the call itself will tell. `is_method`: without the first, the instance.

    What a decorator says that its function looks like (`__wrapped__`, `__signature__`) need not be what it takes.
    """
    if hasattr(function, "__signature__"):
        return None
    try:
        found = list(inspect.signature(function, follow_wrapped=False).parameters.values())
    except (ValueError, TypeError):
        return None  # made in C, perhaps
    by_place = [each for each in found if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    if is_method:
        if not by_place:
            return None if not any(each.kind is each.VAR_POSITIONAL for each in found) else _parameters(found, [])
        found.remove(by_place[0])
        del by_place[0]
    return _parameters(found, by_place)


def _parameters(found: list[inspect.Parameter], by_place: list[inspect.Parameter]) -> Parameters | None:
    keywords = [each for each in found if each.kind is each.KEYWORD_ONLY]
    required = [each.default is each.empty for each in by_place]
    if sorted(required, reverse=True) != required:
        return None  # of a partial function that has got an argument by its name
    plain = [
        each.replace(annotation=each.empty, default=each.empty if each.default is each.empty else ...) for each in found
    ]
    return Parameters(
        shown(str(inspect.Signature(plain)).replace("Ellipsis", "..."), _TEXT_LIMIT),
        [each.name for each in by_place],
        sum(each.kind is each.POSITIONAL_ONLY for each in by_place),
        sum(required),
        [each.name for each in keywords],
        [each.name for each in keywords if each.default is each.empty],
        any(each.kind is each.VAR_POSITIONAL for each in found),
        any(each.kind is each.VAR_KEYWORD for each in found),
    )


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names))
