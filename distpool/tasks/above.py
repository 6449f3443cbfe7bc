"""`remote` in a worker: calls go up to the program, which runs them like its own."""

from __future__ import annotations

import pickle
from itertools import count
from typing import TYPE_CHECKING, Any

from distpool.ids import FunctionId
from distpool.logic.promises import Promise
from distpool.logic.streams import ONE, STREAM
from distpool.objects.promises import TaskRef
from distpool.objects.refs import ObjectRef, noting_refs
from distpool.objects.results import store_result
from distpool.objects.stores import current
from distpool.objects.whole import whole
from distpool.protocol.messages import FunctionBlob, OutcomeKind
from distpool.protocol.upcalls import CancelPromises, SubmitTask
from distpool.runtime.arguments import Arguments
from distpool.runtime.main_view import CallersMain
from distpool.runtime.promises_above import above
from distpool.runtime.streams_above import generator_above
from distpool.runtime.up_lane import DEPTH, number_of_call, way_up
from distpool.runtime.yielding import returning
from distpool.serialization.pickling import SCALARS, blame
from distpool.tasks.arguments import with_stand_ins

if TYPE_CHECKING:
    from distpool.tasks.functions import RemoteFunction

_VALUE = int(OutcomeKind.VALUE)
_STORED = int(OutcomeKind.STORED)


class ProgramAbove:
    """The tasks of the program, as a worker starts them. Any thread may call any method."""

    def __init__(self) -> None:
        self._promises = above()
        # Functions whose pickle the program has yet to get, by their number here.
        self._unsent: dict[FunctionId, FunctionBlob] = {}
        self._main = CallersMain()
        self._arguments = Arguments(self._main, count(1), self._unsent)
        self._options: dict[int, tuple[Any, bytes]] = {}

    def submit(self, function: RemoteFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See `RemoteFunction.remote`."""
        options = function._options
        returns = options.returns
        key = (self._arguments.number, returns)
        function_id = function._ids.get(key)
        if function_id is None:
            function_id = function._ids[key] = self._arguments.function_of(function, returns)
        inline = None if function_id else returning(function.__wrapped__, returns)
        return self.send(function_id, inline, options, function._name, args, kwargs)

    def send(
        self,
        function_id: FunctionId,
        inline: Any,
        options: Any,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        callee: Promise | None = None,
    ) -> Any:
        """Have it called by the program, which opens `options`. `callee`: of the actor whose method it is."""
        returns = options.returns
        needed: list[Promise] = []
        if returns == STREAM:
            refs = [self._promises.new(name), self._promises.new(name)]
            args = (refs[1].id, options.ahead, *args)
        elif returns == ONE:
            refs = [self._promises.new(name)]
        else:
            refs = [self._promises.new(name, position) for position in range(max(1, returns))]
        kind, call = self._pickled(inline, args, kwargs, needed)
        if callee is not None:
            needed.append(callee)
        self._promises.relieve()
        way_up().tell(
            SubmitTask(
                [ref.id for ref in refs],
                function_id,
                self._unsent.pop(function_id, None),
                kind,
                call,
                [promise.number for promise in needed],
                self._pickled_options(options),
                name,
                DEPTH[0] + 1,
                number_of_call(),
            )
        )
        if returns == STREAM:
            return generator_above(*refs)
        return refs[0] if returns == ONE else refs if returns else None

    def cancel(self, ref: TaskRef, *, force: bool, recursive: bool) -> None:
        way_up().tell(CancelPromises([ref.id], force, recursive))

    def _pickled(
        self, inline: Any, args: tuple[Any, ...], kwargs: dict[str, Any], needed: list[Promise]
    ) -> tuple[int, bytes]:
        if inline is None and not kwargs and SCALARS.issuperset(map(type, args)):
            return _VALUE, pickle.dumps((args, kwargs), 5)
        given = args, kwargs
        args, kwargs = with_stand_ins(args, kwargs, needed)
        if ObjectRef in map(type, args) or ObjectRef in map(type, kwargs.values()):
            from distpool.objects.claims import ByValue

            args = tuple(ByValue(value) if type(value) is ObjectRef else value for value in args)
            kwargs = {name: ByValue(value) if type(value) is ObjectRef else value for name, value in kwargs.items()}
        try:
            call = (args, kwargs) if inline is None else (inline, args, kwargs)
            parts, refs = noting_refs(self._arguments.dump, call)
        except Exception as error:
            named = [(f"argument {position}", value) for position, value in enumerate(given[0])]
            named += [(f"argument {name!r}", value) for name, value in given[1].items()]
            raise blame(error, [*named, ("the function", inline)], self._main) from None
        if type(parts) is bytes and not refs:
            return _VALUE, parts
        store: Any = current()
        if store.id != self._promises.program and type(parts) is not bytes:
            # On another machine: it goes to the program, and from there to whoever runs the call.
            parts = whole(parts)
        return _STORED, store_result(store, parts, refs)

    def _pickled_options(self, options: Any) -> bytes:
        """Each object once: a function keeps its own."""
        known = self._options.get(id(options))
        if known is None:
            known = self._options[id(options)] = options, pickle.dumps(options, 5)
        return known[1]
