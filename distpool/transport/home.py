"""Where this user's keys and other files of a cluster lie. The keys themselves are read elsewhere, with ZeroMQ."""

from __future__ import annotations

import os

from distpool.settings import current


def home_folder() -> str:
    """The folder of the keys: the one that is set as home, or else the user's own; it need not be there."""
    return current().home or _users_own("XDG_CONFIG_HOME", ".config")


def cache_folder() -> str:
    """Where a node keeps what drivers have sent: in the folder of the keys if one is set, or else the user's own."""
    chosen = current().home
    return os.path.join(chosen, "cache") if chosen else _users_own("XDG_CACHE_HOME", ".cache")


def _users_own(variable: str, default: str) -> str:
    base = os.environ.get(variable) or os.path.join(os.path.expanduser("~"), default)
    return os.path.join(base, "distpool")
