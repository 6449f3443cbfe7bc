"""`multiprocessing.sharedctypes`: the standard library's own objects."""

from multiprocessing.sharedctypes import *  # noqa: F403
