"""Where this user's keys and other files of a cluster lie. The keys themselves are read elsewhere, with ZeroMQ."""

from __future__ import annotations

import os

from distpool.settings import current


def home_folder() -> str:
    """The folder that is set as home, or else the user's own; it need not be there."""
    chosen = current().home
    if chosen:
        return chosen
    return os.path.join(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "distpool")
