"""A keyword that a call does not know gives an error that lists those it knows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from importlib import import_module
from typing import Any, TypeVar

SHAPE_OPTION_NAMES = (
    "num_cpus",
    "num_gpus",
    "memory",
    "memory_per_gpu",
    "resources",
    "labels",
    "scheduling_strategy",
    "placement_group",
    "bundle",
)
"""What a worker may be asked to have; see `placing.shape_of`."""

_OF_CALLS = ("timeout", "retries", "priority")

Function = TypeVar("Function", bound=Callable[..., Any])


def lists_options(function: Function) -> Function:
    """Make an unknown keyword a TypeError that names it and the valid ones; otherwise change nothing."""
    return lists_options_and(())(function)


def lists_options_and(more: Collection[str]) -> Callable[[Function], Function]:
    """The same for a function whose last parameter takes these keywords too."""

    def decorate(function: Function) -> Function:
        code: Any = function.__code__
        named = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        valid = frozenset([*named, *more]) - {"self"}

        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            unknown = kwargs.keys() - valid
            if unknown:
                name = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]
                option = min(unknown)
                close = import_module("difflib").get_close_matches(option, valid, 1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                if more and option in _OF_CALLS:
                    hint = f"; it is for calls: with_options({option}=...) takes it"
                raise TypeError(
                    f"{name}() got an unexpected keyword argument {option!r}; valid are "
                    f"{', '.join(sorted(valid))}{hint}"
                )
            return function(*args, **kwargs)

        return checked  # type: ignore[return-value]

    return decorate
