"""Where this user's keys and other files of a cluster lie. The keys themselves are read elsewhere, with ZeroMQ."""

from __future__ import annotations

import os

HOME_VARIABLE = "DISTPOOL_HOME"


def home_folder() -> str:
    """The folder of the keys: that which DISTPOOL_HOME names, or else the user's own."""
    configured = os.environ.get(HOME_VARIABLE)
    if configured:
        return configured
    return _users_own("XDG_CONFIG_HOME", ".config")


def cache_folder() -> str:
    """Where a node keeps what drivers have sent: in the folder of the keys if one is named, or else the user's own."""
    configured = os.environ.get(HOME_VARIABLE)
    if configured:
        return os.path.join(configured, "cache")
    return _users_own("XDG_CACHE_HOME", ".cache")


def _users_own(variable: str, default: str) -> str:
    base = os.environ.get(variable) or os.path.join(os.path.expanduser("~"), default)
    return os.path.join(base, "distpool")
