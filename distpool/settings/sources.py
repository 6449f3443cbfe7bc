"""Where settings come from: the environment and a file, put together and checked."""

from __future__ import annotations

import os
import re
from importlib import import_module
from typing import Any, NamedTuple

import msgspec

from distpool.base_errors import InvalidSetting
from distpool.config import SETTINGS
from distpool.settings import FILE_VARIABLE, PREFIX, Chosen
from distpool.settings.table import TABLE

_BEATS_IN_SILENCE = 2

# How each setting is written, and its name.
_AS_THEY_ARE = {name: name for name in TABLE}
_AS_VARIABLES = {PREFIX + name.upper(): name for name in TABLE}

# Kubernetes tells every container of services: of one called distpool-head by DISTPOOL_HEAD_PORT and the like.
_OF_SERVICES = re.compile(r"\w+_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?)?)")


class _Given(NamedTuple):
    """A value, and where it was found: for messages."""

    value: Any
    source: str


def read(file: str) -> Chosen:
    """`file`: its path; empty for none. Raises InvalidSetting."""
    path = _existing(file)
    given = {**_in_file(path), **_in_environment()}
    values = {name: _value(name, found) for name, found in given.items()}
    constants = {TABLE[name].constant: value for name, value in values.items() if TABLE[name].constant}
    chosen: dict[str, Any] = {
        name: None if value == "" else value for name, value in values.items() if not TABLE[name].constant
    }
    together = Chosen(
        **chosen,
        own_constants=msgspec.structs.replace(SETTINGS, **constants),
        sources={name: found.source for name, found in given.items()},
        file=path,
    )
    _check(together)
    return together


def _existing(file: str) -> str:
    """Its whole path; empty when there is none. One that was named must be there."""
    if not file:
        return ""
    try:
        path = os.path.abspath(file)
    except FileNotFoundError:  # this process is in a folder that is gone
        return ""
    if os.path.exists(path):
        return path
    if os.environ.get(FILE_VARIABLE):
        raise InvalidSetting(f"the environment variable {FILE_VARIABLE} names {file!r}, which does not exist")
    return ""


def _in_file(path: str) -> dict[str, _Given]:
    if not path:
        return {}
    tomllib: Any = import_module("tomllib")  # here, as most have no such file
    try:
        with open(path, "rb") as stream:
            found = tomllib.load(stream)
    except (OSError, ValueError) as error:  # what is no TOML or no UTF-8 is a ValueError
        raise InvalidSetting(f"{path} cannot be read as settings: {error}") from None
    folder = os.path.dirname(path)
    given = {}
    for written, value in found.items():
        name = _known(written, _AS_THEY_ARE, path)
        if TABLE[name].is_path and isinstance(value, str) and value:
            value = os.path.join(folder, os.path.expanduser(value))
        given[name] = _Given(value, f"{name} in {path}")
    return given


def _in_environment() -> dict[str, _Given]:
    return {
        _known(variable, _AS_VARIABLES, "the environment"): _Given(value, f"the environment variable {variable}")
        for variable, value in os.environ.items()
        if variable.startswith(PREFIX) and variable != FILE_VARIABLE and not _OF_SERVICES.fullmatch(variable)
    }


def _known(written: str, spellings: dict[str, str], where: str) -> str:
    """The name of the setting that is written like this."""
    if written in spellings:
        return spellings[written]
    difflib: Any = import_module("difflib")  # here, as only a mistake needs it
    close = difflib.get_close_matches(written, spellings, 1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise InvalidSetting(f"{written} in {where} is no setting{hint}; there are {', '.join(spellings)}")


def _value(name: str, given: _Given) -> Any:
    try:
        return TABLE[name].read(given.value, given.source)
    except (TypeError, ValueError) as error:
        raise InvalidSetting(str(error)) from None


def _check(chosen: Chosen) -> None:
    """Settings that must fit each other."""
    silence_s, beat_s = chosen.constants.silence_limit_s, chosen.constants.beat_every_s
    if silence_s < _BEATS_IN_SILENCE * beat_s:
        source = chosen.sources.get("silence_limit") or chosen.sources["beat"]
        raise InvalidSetting(
            f"{source}: the silence limit is {silence_s:g} s and the beat {beat_s:g} s; the limit must be at least "
            f"{_BEATS_IN_SILENCE} beats, or processes that live are given up"
        )
