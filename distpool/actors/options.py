"""The options of actors and of their methods, and what is said of a value that one cannot take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from distpool.config import SETTINGS
from distpool.logic.actor_plan import ALWAYS, DEFAULT_GROUP
from distpool.logic.streams import ONE, STREAM
from distpool.options import check_names
from distpool.placing import SHAPE_OPTIONS, shape_of
from distpool.protocol.resources import NOTHING, Shape
from distpool.tasks.options import AHEAD, checked_ahead, checked_returns, not_streaming

ASYNC_CONCURRENCY = 1000
"""How many calls of an async actor run beside each other, if it says nothing."""

LIFETIMES = ("detached", "non_detached")


class ActorOptions(msgspec.Struct, frozen=True):
    """What `remote` and `options` take for a class. `max_concurrency`: None is 1, or 1000 for a class with async
    methods. `lifetime`: "detached" lives until it is killed, whoever has a handle, and on a cluster longer than its
    program. `needed`: of the worker, as `shape_of` takes it, which makes `shape` of it; no CPU, if it says nothing."""

    max_restarts: int = 0
    max_task_retries: int = 0
    max_concurrency: int | None = None
    concurrency_groups: dict[str, int] = {}
    name: str | None = None
    namespace: str | None = None
    get_if_exists: bool = False
    lifetime: str | None = None
    needed: dict[str, Any] = {}
    shape: Shape = NOTHING


class MethodOptions(msgspec.Struct, frozen=True):
    """What `method` and `options` take for a method; None: what the actor says. `num_returns`: how many values, or
    `ONE`, or `STREAM`; None: by what the method is. `ahead`: see `TaskOptions`."""

    concurrency_group: str | None = None
    max_task_retries: int | None = None
    num_returns: int | None = None
    ahead: int = SETTINGS.items_ahead_limit

    @property
    def returns(self) -> int:
        """Of a method that is no generator, if nothing was said."""
        return ONE if self.num_returns is None else self.num_returns


def merged_actor_options(known: ActorOptions, given: Mapping[str, Any]) -> ActorOptions:
    """Raises TypeError or ValueError that name what is valid."""
    check_names(given, [*_ACTOR_CHECKS, *SHAPE_OPTIONS], "an actor")
    needed = {**known.needed, **{name: value for name, value in given.items() if name in SHAPE_OPTIONS}}
    shape = shape_of(default_cpus=0, whose="an actor", **needed)
    checked = _checked({name: value for name, value in given.items() if name in _ACTOR_CHECKS}, _ACTOR_CHECKS)
    options = msgspec.structs.replace(known, needed=needed, shape=shape, **checked)
    if options.get_if_exists and options.name is None:
        raise ValueError("get_if_exists is True, but the actor has no name to be found by: give it one with name=")
    if options.namespace is not None and options.name is None:
        raise ValueError(f"namespace is {options.namespace!r}, but the actor has no name: give it one with name=")
    return options


def merged_method_options(known: MethodOptions, given: Mapping[str, Any]) -> MethodOptions:
    """Raises TypeError or ValueError that name what is valid."""
    check_names(given, _METHOD_CHECKS, "an actor's method")
    checked = _checked(given, _METHOD_CHECKS)
    if AHEAD in checked:
        checked["ahead"] = checked.pop(AHEAD)
    merged = msgspec.structs.replace(known, **checked)
    if AHEAD in given and merged.num_returns not in (None, STREAM):
        raise ValueError(not_streaming(given[AHEAD]))
    return merged


def _checked(given: Mapping[str, Any], checks: dict[str, Callable[[str, Any], Any]]) -> dict[str, Any]:
    return {name: checks[name](name, value) for name, value in given.items()}


def _count(name: str, value: Any) -> int:
    """-1 is any number of times."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; it must be an int of at least -1")
    if value < -1:
        raise ValueError(f"{name} is {value}; it must be at least 0, or -1 for any number of times")
    return ALWAYS if value == -1 else value


def _limit(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; it must be an int of at least 1")
    if value < 1:
        raise ValueError(f"{name} is {value}; it must be at least 1, and 1 runs one call at a time")
    return value


def _groups(name: str, value: Any) -> dict[str, int]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; it must be a dict such as {{'io': 2}}")
    for group in value:
        _text(f"a name in {name}", group)
    return {group: _limit(f"{name}[{group!r}]", limit) for group, limit in value.items()}


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; it must be a str")
    if not value:
        raise ValueError(f"{name} is empty; it must be a str of at least one character")
    return value


def _text_or_none(name: str, value: Any) -> str | None:
    return None if value is None else _text(name, value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; it must be True or False")
    return value


def _lifetime(name: str, value: Any) -> str | None:
    if value is not None and value not in LIFETIMES:
        raise ValueError(f"{name} is {value!r}; it must be {' or '.join(map(repr, LIFETIMES))}, or None")
    return value  # type: ignore[no-any-return]


_ACTOR_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "max_restarts": _count,
    "max_task_retries": _count,
    "max_concurrency": lambda name, value: None if value is None else _limit(name, value),
    "concurrency_groups": _groups,
    "name": _text_or_none,
    "namespace": _text_or_none,
    "get_if_exists": _flag,
    "lifetime": _lifetime,
}
_METHOD_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "concurrency_group": _text_or_none,
    "max_task_retries": lambda name, value: None if value is None else _count(name, value),
    "num_returns": lambda name, value: checked_returns(value),
    AHEAD: lambda name, value: checked_ahead(value),
}


def concurrency(options: ActorOptions, *, is_async: bool) -> dict[str, int] | None:
    """How many calls run beside each other in each group; None: one at a time, in order."""
    limit = options.max_concurrency
    if limit is None:
        limit = ASYNC_CONCURRENCY if is_async else 1
    if limit == 1 and not options.concurrency_groups and not is_async:
        return None
    return {DEFAULT_GROUP: limit, **options.concurrency_groups}
