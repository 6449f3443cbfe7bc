"""The arguments of one group's calls, from Python values to what travels; what cannot be pickled is named."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from typing import Any

from distpool.ids import FunctionId
from distpool.logic.calls import Entry
from distpool.protocol.messages import FunctionBlob
from distpool.runtime.main_view import MainView
from distpool.serialization.functions import FunctionTable
from distpool.serialization.pickling import SCALARS, blame, dumps, is_scalar


class Arguments:
    """Pickles calls for one group. Used by any thread; every method raises what pickling raises."""

    def __init__(self, main: MainView, ids: Iterator[int], published: dict[FunctionId, FunctionBlob]) -> None:
        self._main = main
        self._published = published
        self._functions = FunctionTable(main, ids, self._publish)

    def pickle_call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, bytes]:
        """(function id, pickled call). Raises what pickling raises."""
        function_id = self._functions.named(function)
        if function_id and not kwargs and SCALARS.issuperset(map(type, args)):
            return function_id, pickle.dumps((args, kwargs), 5)
        try:
            return function_id, dumps((args, kwargs) if function_id else (function, args, kwargs), self._main)
        except Exception as error:
            named = [(f"argument {position}", value) for position, value in enumerate(args)]
            named += [(f"argument {name!r}", value) for name, value in kwargs.items()]
            raise blame(error, [*named, ("the function", function)], self._main) from None

    def pickle_chunk(self, function: Any, items: Sequence[Any], first: int) -> tuple[Any, bytes]:
        """(function id, pickled items); `first` is the number of the first. Raises what pickling raises."""
        function_id = self._functions.named(function)
        try:
            return function_id, dumps(items if function_id else (function, items), self._main)
        except Exception as error:
            named = [(f"item {position}", value) for position, value in enumerate(items, first)]
            raise blame(error, [*named, ("the function", function)], self._main) from None

    def entry(self, item: Any, position: int) -> Entry:
        """One item as it waits to be sent: itself when it is a scalar, else its pickle. Raises what pickling raises."""
        if is_scalar(item):
            return item
        try:
            return dumps(item, self._main)
        except Exception as error:
            raise blame(error, [(f"item {position}", item)], self._main) from None

    def function_for_items(self, function: Any) -> Any:
        """The id of a function whose items travel without it. Raises what pickling raises."""
        return self._functions.any(function)

    def _publish(self, blob: FunctionBlob) -> None:
        """Where the client role finds it when a worker needs it."""
        self._published[blob.function] = blob
