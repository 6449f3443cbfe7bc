"""`multiprocessing.connection`: the standard library's own objects."""

from multiprocessing.connection import *  # noqa: F403
