"""Arguments of tasks that are the refs of others: stand-ins for them, and the promises that are needed."""

from __future__ import annotations

from typing import Any

from distpool.logic.promises import Promise
from distpool.objects.promised import Promised
from distpool.objects.promises import TaskRef


def with_stand_ins(
    args: tuple[Any, ...], kwargs: dict[str, Any], needed: list[Promise]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with stand-ins for the refs of tasks, whose promises are added to `needed`."""
    if not (TaskRef in map(type, args) or TaskRef in map(type, kwargs.values())):
        return args, kwargs
    stand_ins: dict[Promise, Promised] = {}

    def stand_in(value: Any) -> Any:
        if type(value) is not TaskRef:
            return value
        promise = value.known()
        if promise not in stand_ins:
            stand_ins[promise] = Promised(len(needed))
            needed.append(promise)
        return stand_ins[promise]

    return tuple(map(stand_in, args)), {name: stand_in(value) for name, value in kwargs.items()}
