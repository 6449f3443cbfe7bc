"""Devices that are written down instead of found, so that programs can be tried where there are none."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import msgspec

from distpool.base_errors import InvalidSetting
from distpool.protocol.devices import Device
from distpool.quantities import size_bytes
from distpool.runtime.gpus.visible import VARIABLES

_FIELDS = ("count", "id", "kind", "link", "memory", "name", "numa")


def devices_in_file(path: str, source: str) -> tuple[Device, ...]:
    """Of a TOML file with a list `devices`. Raises InvalidSetting that names the setting's `source`."""
    tomllib: Any = import_module("tomllib")
    try:
        with open(path, "rb") as stream:
            found = tomllib.load(stream)
    except (OSError, ValueError) as error:  # what is no TOML or no UTF-8 is a ValueError
        raise InvalidSetting(f"{source} names {path!r}, which cannot be read: {error}") from None
    if set(found) != {"devices"}:
        names = ", ".join(found) or "nothing"
        raise InvalidSetting(f"{path}, which {source} names, has {names}; it must have devices, each as [[devices]]")
    return devices_of(found["devices"], path)


def devices_of(tables: object, source: str) -> tuple[Device, ...]:
    """As they are written down. Raises InvalidSetting."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InvalidSetting(f"devices in {source} is {tables!r}; it must be a list of tables, each as [[devices]]")
    devices: list[Device] = []
    for number, table in enumerate(tables):
        devices += _alike(table, f"device {number} in {source}", len(devices))
    names = [device.id for device in devices]
    for name in names:
        if names.count(name) > 1:
            raise InvalidSetting(f"devices in {source}: {names.count(name)} of them have the id {name!r}")
    return tuple(devices)


def _alike(table: dict[str, Any], where: str, begun: int) -> list[Device]:
    for name in table:
        if name not in _FIELDS:
            difflib: Any = import_module("difflib")
            close = difflib.get_close_matches(name, _FIELDS, 1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise InvalidSetting(f"{where} has {name!r}{hint}; a device has {', '.join(_FIELDS)}")
    count = _whole(table, "count", 1, 1, where)
    if "id" in table and count > 1:
        raise InvalidSetting(f"{where} has an id, {table['id']!r}, and a count of {count}; an id is of one device")
    kind, name = _text(table, "kind", "pretend", where), _text(table, "name", "", where)
    if kind not in VARIABLES:
        raise InvalidSetting(f"{where}: kind is {kind!r}; it must be one of {', '.join(VARIABLES)}")
    try:
        memory = size_bytes(table.get("memory", 0), f"{where}: memory", smallest=0)
    except (TypeError, ValueError) as error:
        raise InvalidSetting(str(error)) from None
    link, numa = _whole(table, "link", 0, 0, where), _whole(table, "numa", -1, -1, where)
    first = Device(_text(table, "id", "", where), kind, memory, link, numa, name)
    if first.id:
        return [first]
    return [msgspec.structs.replace(first, id=f"{kind}-{begun + number}") for number in range(count)]


def _whole(table: dict[str, Any], name: str, default: int, least: int, where: str) -> int:
    value = table.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidSetting(f"{where}: {name} is {value!r}; it must be a whole number of at least {least}")
    return value


def _text(table: dict[str, Any], name: str, default: str, where: str) -> str:
    value = table.get(name, default)
    if not isinstance(value, str) or "," in value:
        raise InvalidSetting(f"{where}: {name} is {value!r}; it must be a text without a comma")
    return value


def written_down(setting: object, source: str) -> tuple[Device, ...]:
    """What the setting `devices` gives: a file, or a list. Raises InvalidSetting."""
    if isinstance(setting, str):
        return devices_in_file(os.path.abspath(setting), source)
    return devices_of(setting, source)
