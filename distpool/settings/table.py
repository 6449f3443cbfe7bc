"""The settings that there are: each with its form, its default in words, and what it is for."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from distpool.config import SETTINGS
from distpool.quantities import amounts, duration_s, from_json, size_bytes, texts
from distpool.settings import OFF

_SMALLEST_STORE = 1024 * 1024


class Setting(NamedTuple):
    """`read`: from its value and what it is called in messages to what it means. `is_path`: in a file it is relative to
    the file's folder. `constant`: the field of the runtime's constants that it sets."""

    read: Callable[[object, str], Any]
    default: str
    about: str
    is_path: bool = False
    constant: str = ""


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; it must be a text")
    return value


def _switch(value: object, name: str) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("0", "1"):
        return value == "1"
    raise ValueError(f"{name} is {value!r}; it must be 1 or 0, or in a file true or false")


def _path(value: object, name: str) -> str:
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; it must be a path")
    return os.path.expanduser(os.fspath(value))


def _path_or_tables(value: object, name: str) -> object:
    """A list in a file is looked at by those who need it."""
    return value if isinstance(value, list) else _path(value, name)


def _memory_limit(value: object, name: str) -> object:
    """As it was given."""
    if value != OFF:
        try:
            size_bytes(value, name, smallest=1, whole=lambda: _SMALLEST_STORE)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{error}, or {OFF!r}") from None
    return value


def _resources(value: object, name: str) -> dict[str, int]:
    return amounts(from_json(value, name), name)


def _labels(value: object, name: str) -> dict[str, str]:
    return texts(from_json(value, name), name)


def _size_or_share(value: object, name: str) -> object:
    """As it was given: how much a share is depends on the machine."""
    size_bytes(value, name, smallest=1, whole=lambda: _SMALLEST_STORE)
    return value


def _duration(value: object, name: str) -> float:
    """The environment has numbers as texts."""
    if isinstance(value, str) and value.strip().replace(".", "", 1).isdecimal():
        value = float(value)
    return duration_s(value, name)


def _count(value: object, name: str) -> int:
    """The environment has numbers as texts."""
    number = int(value) if isinstance(value, str) and value.strip().isdecimal() else value
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")
    return number


def _bytes(value: object, name: str) -> int:
    return size_bytes(value, name, smallest=0)


def _limit(constant: str, about: str) -> Setting:
    return Setting(_duration, f"{getattr(SETTINGS, constant):g}s", about, constant=constant)


TABLE = {
    "address": Setting(_text, "none: everything runs on this machine", "of the head whose cluster is used"),
    "home": Setting(_path, "~/.config/distpool", "the folder with the keys of the cluster", is_path=True),
    "store_size": Setting(_size_or_share, f"{SETTINGS.store_share:.0%}", "how much memory the store may take"),
    "spill_folder": Setting(_path, "/var/tmp", "where what does not fit into the store goes to disk", is_path=True),
    "labels": Setting(_switch, "1", "whether the node's name stands before what its workers print and log"),
    "devices": Setting(
        _path_or_tables, "those that are found", "a file with the GPUs to be assumed, or a list of them", is_path=True
    ),
    "memory_limit": Setting(
        _memory_limit,
        f"{SETTINGS.memory_limit_share:.0%}",
        "how much of the machine's memory may be in use before a worker is ended",
    ),
    "resources": Setting(_resources, "none", "what this machine has besides CPUs, memory and GPUs, as {tpu = 4}"),
    "node_labels": Setting(_labels, "none", "labels of this machine that tasks and pools may ask for"),
    "connect_limit": _limit("connect_limit_s", "how long a program or command tries to reach a head"),
    "beat": _limit("beat_every_s", "the longest silence of a process of the cluster that lives"),
    "silence_limit": _limit("silence_limit_s", "the silence after which a node is given up; at least twice the beat"),
    "waiting_limit": Setting(
        _count,
        f"{SETTINGS.waiting_limit}",
        "how many workers of one kind may wait for calls that theirs have started",
        constant="waiting_limit",
    ),
    "lineage_limit": Setting(
        _bytes,
        "64MiB",
        "how much the tasks may take that are remembered to make lost values again",
        constant="lineage_limit_bytes",
    ),
    "head_gone_limit": _limit("head_gone_limit_s", "the silence of a head after which its nodes end"),
}
