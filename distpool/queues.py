"""`multiprocessing.queues`: the standard library's own objects."""

from multiprocessing.queues import *  # noqa: F403
