"""What users may set: an argument goes before the environment (`DISTPOOL_<NAME>`), that before the file
`distpool.toml`, and that before the default.

The file is that of the working directory, or the one that DISTPOOL_CONFIG names. It is asked for whenever something
begins that a setting is for, so a process that sets nothing pays for one look at its environment and at one path.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec

from distpool.config import SETTINGS, Settings

PREFIX = "DISTPOOL_"
FILE = "distpool.toml"
FILE_VARIABLE = "DISTPOOL_CONFIG"
"""Names another file; empty: none is read."""


class Chosen(msgspec.Struct, frozen=True):
    """What is set in this process now; None is the default. `constants`: the runtime's, with what was chosen of them.
    `resources`: in ten-thousandths. `sources`: by the name of each setting that was chosen, where, in words. `file`:
    that was read."""

    address: str | None = None
    home: str | None = None
    store_size: str | int | None = None
    spill_folder: str | None = None
    labels: bool = True
    devices: str | list[Any] | None = None
    resources: dict[str, int] = {}
    node_labels: dict[str, str] = {}
    constants: Settings = SETTINGS
    sources: dict[str, str] = {}
    file: str = ""


_NOTHING = Chosen()
_arguments: dict[str, Any] = {}


def current() -> Chosen:
    """Raises InvalidSetting for a setting that is unknown or makes no sense."""
    file = os.environ.get(FILE_VARIABLE, FILE)
    if not _arguments and not any(name.startswith(PREFIX) for name in os.environ) and not os.path.exists(file):
        return _NOTHING
    from distpool.settings.sources import read  # most programs set nothing

    return read(_arguments, file)


def set_by_argument(**chosen: Any) -> None:
    """What a call of this process has said goes before everything else from now on; None takes it back.

    Raises InvalidSetting, with nothing changed.
    """
    from distpool.settings.sources import read

    together = {name: value for name, value in {**_arguments, **chosen}.items() if value is not None}
    if together:
        read(together, os.environ.get(FILE_VARIABLE, FILE))
    _arguments.clear()
    _arguments.update(together)
