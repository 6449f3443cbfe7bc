"""`multiprocessing.synchronize`: the standard library's own objects."""

from multiprocessing.synchronize import *  # noqa: F403
