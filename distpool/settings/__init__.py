"""What users may set, where no argument of a call says it: the environment (`DISTPOOL_<NAME>`) goes before the file
`distpool.toml`, and that before the default.

The file is that of the working directory, or the one that DISTPOOL_CONFIG names. It is asked for whenever something
begins that a setting is for, so a process that sets nothing pays for one look at its environment and at one path.
"""

# Without `from __future__ import annotations`: a NamedTuple compiles each that is a text, which is a part of what
# `import distpool` takes.
import os
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from distpool.config import Settings

PREFIX = "DISTPOOL_"
FILE = "distpool.toml"
FILE_VARIABLE = "DISTPOOL_CONFIG"
"""Names another file; empty: none is read."""
OFF = "off"
"""The memory limit where there is none."""


class Chosen(NamedTuple):
    """What is set in this process now; None is the default. `own_constants`: the runtime's, with what was chosen of
    them, if anything was. `resources`: in ten-thousandths. `sources`: by the name of each setting that was chosen,
    where, in words. `file`: that was read."""

    address: str | None = None
    home: str | None = None
    store_size: str | int | None = None
    spill_folder: str | None = None
    labels: bool = True
    devices: str | list[Any] | None = None
    memory_limit: str | int | None = None
    resources: dict[str, int] = {}  # noqa: RUF012 (nobody changes them)
    node_labels: dict[str, str] = {}  # noqa: RUF012
    own_constants: Any = None
    sources: dict[str, str] = {}  # noqa: RUF012
    file: str = ""

    @property
    def constants(self) -> "Settings":
        """The runtime's, with what was chosen of them."""
        from distpool.config import SETTINGS  # brings msgspec, which a program needs from its first pool on

        own: Settings | None = self.own_constants
        return own or SETTINGS


_NOTHING = Chosen()


def current() -> Chosen:
    """Raises InvalidSetting for a setting that is unknown or makes no sense."""
    file = os.environ.get(FILE_VARIABLE, FILE)
    if not any(name.startswith(PREFIX) for name in os.environ) and not os.path.exists(file):
        return _NOTHING
    from distpool.settings.sources import read  # most programs set nothing

    return read(file)
