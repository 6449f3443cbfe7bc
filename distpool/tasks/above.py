"""`remote` in a worker: calls go up to the program, which runs them like its own."""

from __future__ import annotations

import pickle
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec

from distpool.ids import FunctionId
from distpool.logic.promises import Promise
from distpool.logic.streams import ONE, STREAM
from distpool.objects.promises import TaskRef, end
from distpool.objects.refs import ObjectRef, noting_refs
from distpool.objects.results import store_result
from distpool.objects.stores import current
from distpool.objects.whole import whole
from distpool.protocol.messages import FunctionBlob, OutcomeKind
from distpool.protocol.store import StoredResult
from distpool.protocol.upcalls import CancelPromises, PutValue, SubmitTask
from distpool.runtime.arguments import Arguments
from distpool.runtime.current_call import DEPTH, number_of_call
from distpool.runtime.main_view import CallersMain
from distpool.runtime.own_way_up import way_up
from distpool.runtime.promises_above import FetchedValue, above
from distpool.runtime.streams_above import generator_above
from distpool.runtime.yielding import returning
from distpool.serialization.buffers import Parts
from distpool.serialization.pickling import SCALARS, blame, named_arguments
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
        if returns == STREAM:
            refs = [self._promises.new(name), self._promises.new(name)]
            args = (refs[1].id, options.ahead, *args)
        elif returns == ONE:
            refs = [self._promises.new(name)]
        else:
            refs = [self._promises.new(name, position) for position in range(max(1, returns))]
        kind, call, needed = self.pickled(inline, args, kwargs)
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

    def put(self, parts: Parts | bytes, refs: list[ObjectRef]) -> TaskRef:
        """Have the program keep a value that has refs of tasks: as one that is there already. Raises StoreFull."""
        ref = self._promises.new("put", -1)
        told = self._stored(parts, refs)
        way_up().tell(PutValue(ref.id, told))
        stored = msgspec.msgpack.decode(told, type=StoredResult)
        value: Any = FetchedValue(stored.pickled, [*stored.made, *stored.named])
        end(ref.known(), (_STORED, value))
        return ref

    def cancel(self, promise: Promise, *, force: bool, recursive: bool) -> None:
        way_up().tell(CancelPromises([promise.number], force, recursive))

    def pickled(
        self, inline: Any, args: tuple[Any, ...], kwargs: dict[str, Any], leading: tuple[str, ...] = ()
    ) -> tuple[int, bytes, list[Promise]]:
        """The arguments of a call, as `SubmitTask` has them, and what they need; with the function `inline`, unless
        that is None. `leading`: see `named_arguments`. Raises what pickling raises."""
        needed: list[Promise] = []
        if inline is None and not kwargs and SCALARS.issuperset(map(type, args)):
            return _VALUE, pickle.dumps((args, kwargs), 5), needed
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
            named = named_arguments(*given, leading)
            raise blame(error, [*named, ("the function", inline)], self._main) from None
        if type(parts) is bytes and not refs:
            return _VALUE, parts, needed
        return _STORED, self._stored(parts, refs), needed

    def _stored(self, parts: Parts | bytes, refs: list[ObjectRef]) -> bytes:
        """As a result is told."""
        store: Any = current()
        if store.id != self._promises.program and type(parts) is not bytes:
            # On another machine: it goes to the program, and from there to whoever needs it.
            parts = whole(parts)
        return store_result(store, parts, refs)

    def _pickled_options(self, options: Any) -> bytes:
        """Each object once: a function keeps its own."""
        known = self._options.get(id(options))
        if known is None:
            known = self._options[id(options)] = options, pickle.dumps(options, 5)
        return known[1]
