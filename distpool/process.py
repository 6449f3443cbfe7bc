"""`multiprocessing.process`: the standard library's own objects."""

from multiprocessing.process import *  # noqa: F403
