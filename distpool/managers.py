"""`multiprocessing.managers`: the standard library's own objects."""

from multiprocessing.managers import *  # noqa: F403
