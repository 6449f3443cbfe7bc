"""`multiprocessing.dummy`: the standard library's own objects."""

from multiprocessing.dummy import *  # noqa: F403
