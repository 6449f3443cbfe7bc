"""`multiprocessing.shared_memory`: the standard library's own objects."""

from multiprocessing.shared_memory import *  # noqa: F403
