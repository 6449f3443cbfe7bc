"""The arguments of one group's calls, from Python values to what travels; what cannot be pickled is named.

Large parts of them are stored apart; then a small pickle says where, with a claim on what it names. Refs among the
arguments themselves become their values on the way.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib import import_module
from itertools import count
from typing import TYPE_CHECKING, Any

from distpool.ids import FunctionId
from distpool.logic.calls import Entry
from distpool.logic.streams import ONE
from distpool.objects.known import Known
from distpool.objects.refs import ObjectRef, noting_refs
from distpool.objects.stores import home
from distpool.protocol.messages import FunctionBlob
from distpool.runtime.main_view import MainView
from distpool.runtime.yielding import returning
from distpool.serialization.buffers import Parts, parts_of
from distpool.serialization.functions import FunctionTable
from distpool.serialization.pickling import SCALARS, blame, is_scalar, named_arguments

if TYPE_CHECKING:
    from distpool.objects.claims import Claim, ClaimedPickle
    from distpool.objects.home import Home

    Pickled = bytes | ClaimedPickle

_numbers = count(1)


class Arguments:
    """Pickles calls for one group. Used by any thread; every method raises what pickling raises, and StoreFull."""

    def __init__(self, main: MainView, ids: Iterator[int], published: dict[FunctionId, FunctionBlob]) -> None:
        self._main = main
        self._published = published
        self._functions = FunctionTable(main, ids, self._publish)
        self.dump: Dump = partial(parts_of, main=main)
        self._recent: Known | None = None
        self.number = next(_numbers)
        """No other in this process has it."""

    def pickle_call(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], leading: tuple[str, ...] = ()
    ) -> tuple[Any, Pickled]:
        """(function id, pickled call). `leading`: see `named_arguments`."""
        function_id = self._functions.named(function)
        return function_id, self.pickle_arguments(function_id, function, args, kwargs, leading)

    def pickle_arguments(
        self,
        function_id: Any,
        function: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        leading: tuple[str, ...] = (),
    ) -> Pickled:
        """The arguments of a call of the function that has this id, or of one that has none and travels with them."""
        if function_id and not kwargs and SCALARS.issuperset(map(type, args)):
            return pickle.dumps((args, kwargs), 5)

        def with_values(replace: Replace) -> Any:
            values = (tuple(replace(args)), dict(zip(kwargs, replace(kwargs.values()), strict=True)))
            return values if function_id else (function, *values)

        try:
            value = (args, kwargs) if function_id else (function, args, kwargs)
            return self._pickle(value, with_values, None)
        except Exception as error:
            named = named_arguments(args, kwargs, leading)
            raise blame(error, [*named, ("the function", function)], self._main) from None

    def pickle_chunk(
        self, function: Any, items: Sequence[Any], first: int, *, starred: bool = False, known: Known | None = None
    ) -> tuple[Any, Pickled]:
        """(function id, pickled items); `first` is the number of the first. `starred`: each item is the arguments of
        one call. `known`: what was stored of the same input."""
        function_id = self._functions.named(function)

        def with_values(replace: Replace) -> Any:
            values = [tuple(replace(item)) for item in items] if starred else replace(items)
            return values if function_id else (function, values)

        try:
            return function_id, self._pickle(items if function_id else (function, items), with_values, known)
        except Exception as error:
            named = [(f"item {position}", value) for position, value in enumerate(items, first)]
            raise blame(error, [*named, ("the function", function)], self._main) from None

    def entry(
        self,
        function_id: Any,
        function: Any,
        item: Any,
        position: int,
        *,
        starred: bool = False,
        known: Known | None = None,
    ) -> Entry:
        """One item as it waits to be sent: itself when it is a scalar, else its pickle, with a function that has no
        no id."""
        if function_id and is_scalar(item):
            return item

        def with_values(replace: Replace) -> Any:
            value = tuple(replace(item)) if starred else replace([item])[0]
            return value if function_id else (function, value)

        try:
            return self._pickle(item if function_id else (function, item), with_values, known)
        except Exception as error:
            raise blame(error, [(f"item {position}", item), ("the function", function)], self._main) from None

    def function_of(self, wrapper: Any, returns: int) -> Any:
        """See `FunctionTable.wrapped`; `returns`: see `returning`."""
        return self._functions.wrapped(wrapper, None if returns == ONE else partial(returning, returns=returns))

    def function_for_items(self, function: Any) -> Any:
        """The id of a function whose items travel without it; INLINE_FUNCTION when it is large and has no name."""
        return self._functions.any(function)

    def function_named(self, function: Any, name: str) -> Any:
        """The id of something with a short pickle, from which a worker makes a function once. `name`: in messages."""
        return self._functions.made(function, name)

    def _pickle(self, value: Any, with_values: Callable[[Replace], Any], known: Known | None) -> Pickled:
        return _pickle(value, with_values, self.dump, known or self._what_is_recent)

    def _what_is_recent(self, store: Home) -> Known:
        if self._recent is None:
            self._recent = import_module("distpool.objects.claims").Recent(store)
        return self._recent

    def _publish(self, blob: FunctionBlob) -> None:
        """Where the client role finds it when a worker needs it."""
        self._published[blob.function] = blob


def pickle_initializer(
    initializer: Callable[..., object], initargs: tuple[Any, ...], main: MainView
) -> tuple[bytes, Claim | None]:
    """What the workers of a group unpickle when they start, and what that needs of the store. Raises what pickling
    raises, and StoreFull."""

    def with_values(replace: Replace) -> Any:
        return initializer, tuple(replace(initargs))

    pickled = _pickle((initializer, initargs), with_values, partial(parts_of, main=main), Known())
    if type(pickled) is bytes:
        return pickled, None
    pickled.claim.sent()  # type: ignore[union-attr]
    return pickled.pickled, pickled.claim  # type: ignore[union-attr]


def _pickle(
    value: Any, with_values: Callable[[Replace], Any], dump: Dump, known: Known | Callable[[Home], Known]
) -> Pickled:
    """`with_values` makes the value again, with refs replaced; `known` has what was stored before."""
    parts, refs = noting_refs(dump, value)
    if type(parts) is bytes and not refs:
        return parts
    claims = import_module("distpool.objects.claims")
    store = home()
    taken: dict[ObjectRef, Any] = {}
    if refs:
        value = with_values(lambda values: claims.by_value(store, values, taken))
        parts, refs = noting_refs(dump, value)
    if not isinstance(known, Known):
        known = known(store)
    return claims.claimed(store, parts, taken, refs, known)  # type: ignore[no-any-return]


Dump = Callable[[Any], bytes | Parts]

Replace = Callable[[Iterable[Any]], list[Any]]
"""Gives values with stand-ins for those that are refs."""
