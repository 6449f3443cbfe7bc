"""A keyword that a call does not know gives an error that lists those it knows."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def lists_options(function: Function) -> Function:
    """Make an unknown keyword a TypeError that names it and the valid ones; otherwise change nothing."""
    code: Any = function.__code__
    valid = frozenset(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]) - {"self"}

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        unknown = kwargs.keys() - valid
        if unknown:
            name = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]
            raise TypeError(
                f"{name}() got an unexpected keyword argument {min(unknown)!r}; valid are {', '.join(sorted(valid))}"
            )
        return function(*args, **kwargs)

    return checked  # type: ignore[return-value]
