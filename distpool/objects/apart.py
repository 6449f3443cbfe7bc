"""The small pickle of a value whose large parts lie in a store."""

from __future__ import annotations

import pickle
from typing import Any

from distpool.ids import StoreId
from distpool.objects.segments import Recipe
from distpool.objects.stores import load_value


class _Apart:
    def __init__(self, arguments: tuple[Any, ...]) -> None:
        self._arguments = arguments

    def __reduce__(self) -> Any:
        return load_value, self._arguments


def pickle_apart(recipe: Recipe, store_id: StoreId, home_pid: int) -> bytes:
    """A pickle that gives the value where it is opened."""
    stream = [part if type(part) is bytes else tuple(part) for part in recipe.stream]
    return pickle.dumps(_Apart((store_id, stream, [tuple(piece) for piece in recipe.buffers], home_pid)), 5)
