"""What workers ask their program for: it runs calls that theirs start, tells them outcomes, and keeps what they keep.

    worker: f.remote() ── SubmitTask ──► Promise, Task ──► group of the shape
    worker: get(refs) ── AwaitPromises ──► watched ──► PromisesTold          (meanwhile the worker waits)

What is said is heard before the results that follow it: a promise is there when a result that names it is.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from distpool.base_errors import ObjectLost, ProtocolError
from distpool.ids import FunctionId, LeaseId
from distpool.logic.calls import Outcome
from distpool.logic.promises import Promise
from distpool.logic.streams import STREAM
from distpool.objects.claims import Claim, ClaimedPickle
from distpool.objects.generators import OwnStream
from distpool.objects.home import Hold
from distpool.objects.promises import LOCK, PROMISES, end, number_apart
from distpool.objects.refs import FROM_ABOVE
from distpool.objects.results import StoredValue, adopt
from distpool.objects.stores import home
from distpool.options import NO_OPTIONS
from distpool.protocol.messages import LeaseLost, OutcomeKind, StreamItems
from distpool.protocol.store import StoredResult
from distpool.protocol.upcalls import (
    AwaitItem,
    AwaitPromises,
    AwaitTaken,
    CancelPromises,
    ForgetRequest,
    KeepPromises,
    PutValue,
    StartActor,
    SubmitTask,
    WaitsFor,
)
from distpool.runtime.notices import Notice
from distpool.serialization.remote_errors import encode_failure
from distpool.tasks.calls import Prepared, Task
from distpool.tasks.children import CHILDREN
from distpool.tasks.numbered import all_known, found, publish
from distpool.tasks.open_requests import OpenRequests
from distpool.tasks.program import cancel_promise, give_up, own_program
from distpool.tasks.questions import Questions
from distpool.tasks.requests import ItemRequest, PausedRequest, Request

if TYPE_CHECKING:
    from distpool.runtime.session import Session

_STORED = int(OutcomeKind.STORED)
_ERROR = int(OutcomeKind.ERROR)


class Served:
    """The workers of one session. Owned by whoever holds its loop."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._loop = session.loop
        self._client = session.loop.client
        self._questions = Questions(session, self._call_of)
        # The program's numbers of functions, by their pickle, and by worker and the worker's number.
        self._by_blob: dict[bytes, FunctionId] = {}
        self._functions: dict[LeaseId, dict[FunctionId, FunctionId]] = {}
        self._options: dict[bytes, Any] = {}  # of functions, or what starts an actor's call
        # What a worker has dropped, and when it said so, until that counts.
        self._leaving: dict[LeaseId, dict[int, KeepPromises]] = {}
        self._requests = OpenRequests(session)
        if FROM_ABOVE:
            number_apart()

    def serve(self, lease: LeaseId, message: Any) -> None:
        """Raises ProtocolError for what no worker of ours would say."""
        match message:
            case SubmitTask():
                self._submit(lease, message)
            case AwaitPromises():
                self._await(lease, message)
            case KeepPromises(kept, dropped, written_to):
                leaving = self._leaving.setdefault(lease, {})
                with LOCK:
                    for number in kept:
                        PROMISES.keep(number, lease)
                        leaving.pop(number, None)
                if dropped:
                    leaving.update(dict.fromkeys(dropped, message))
                    # A result that was told before may name them.
                    release = partial(self._loop.post, self._release, lease, message)
                    self._client.results.follow(lease, written_to, release)
            case PutValue():
                self._put(lease, message)
            case StreamItems():
                self._take_items(message)
            case AwaitItem():
                self._await_item(lease, message)
            case AwaitTaken():
                self._await_taken(lease, message)
            case CancelPromises(promises, force, recursive):
                self._loop.completions.append(Notice(self._cancel, promises, force, recursive))
            case ForgetRequest(number):
                self._requests.forget(lease, number)
                self._questions.forget(lease, number)
            case WaitsFor(number, is_so):
                self._requests.waits_for(lease, number, is_so=is_so)
            case LeaseLost():
                self._forget(lease)
            case _:
                self._questions.serve(lease, message)

    # Calls ----------------------------------------------------------------------------------------------------------

    def _submit(self, lease: LeaseId, message: SubmitTask) -> None:
        """The promises are there at once; what may take time, or start workers, follows when all roles are at rest."""
        try:
            options = self._options_of(message)
            call = self._call_of(lease, message)
        except Exception as error:
            raise ProtocolError(f"a task that it has started makes no sense: {error!r}") from error
        promises = tuple(
            Promise(number, message.name, None, -1 if options.returns < 0 else position)
            for position, number in enumerate(message.promises)
        )
        if len(promises) != (2 if options.returns == STREAM else max(1, options.returns)):
            raise ProtocolError(f"a task that it has started has {len(promises)} values, and not {options.returns}")
        publish(promises, lease)
        if options.returns == STREAM:
            completion, holder = promises
            promises = (completion,)
            OwnStream(completion, holder, partial(give_up, self._loop.post))
        functions = self._functions.setdefault(lease, {})
        if message.blob is not None:
            functions[message.function] = self._function(message.blob)
        function_id = functions.get(message.function, FunctionId(0))
        if message.function and not function_id:
            raise ProtocolError(f"function {message.function} was never sent")
        needed = found(message.needed)
        prepared = Prepared(function_id, call, NO_OPTIONS, message.name)
        self._loop.completions.append(Notice(self._start, promises, options, prepared, needed, message.depth))
        parent = self._client.sink_of(lease, message.within)
        force = CHILDREN.note(parent.promises[0], promises[0]) if isinstance(parent, Task) else None
        if force is not None:
            self._loop.completions.append(Notice(self._cancel, [promises[0].number], force, True))

    def _start(
        self,
        promises: tuple[Promise, ...],
        options: Any,
        call: Prepared,
        needed: list[Promise | None],
        depth: int,
    ) -> None:
        try:
            own_program().start(promises, options, call, all_known(needed, call.name), depth)
        except Exception as error:
            for promise in promises:
                end(promise, (_ERROR, encode_failure(error)))
        outcome = promises[0].outcome
        if outcome is not None:  # it was cancelled before it was there
            for promise in promises[1:]:
                end(promise, outcome)

    def _options_of(self, message: SubmitTask) -> Any:
        """Those of a function, or what starts the call of an actor's method."""
        options = self._options.get(message.options)
        if options is None:
            options = pickle.loads(message.options)
            if not isinstance(getattr(options, "returns", None), int):
                raise TypeError(f"its options are {options!r}")
            self._options[message.options] = options
        return options

    def _function(self, blob: Any) -> FunctionId:
        known = self._by_blob.get(blob.blob)
        if known is None:
            known = self._by_blob[blob.blob] = FunctionId(next(self._session.functions))
            self._client.functions[known] = msgspec.structs.replace(blob, function=known)
        return known

    def _put(self, lease: LeaseId, message: PutValue) -> None:
        try:
            stored: Any = self._stored_value(lease, message.value)
        except Exception as error:
            raise ProtocolError(f"a value that it has put makes no sense: {error!r}") from error
        promise = Promise(message.promise, "put")
        publish((promise,), lease)
        end(promise, (_STORED, stored))

    def _call_of(self, lease: LeaseId, message: SubmitTask | StartActor) -> Any:
        return message.call if message.kind != _STORED else self._adopted(lease, message.call)

    def _adopted(self, lease: LeaseId, told: bytes) -> ClaimedPickle:
        """Arguments with large parts or refs: what keeps them is the call's."""
        stored = self._stored_value(lease, told)
        own = [hold for hold in stored.holds if isinstance(hold, Hold)]
        others = [hold for hold in stored.holds if not isinstance(hold, Hold)]
        return ClaimedPickle(stored.pickled, Claim(home(), own, [], [*stored.tasks, *others]))

    def _stored_value(self, lease: LeaseId, told: bytes) -> StoredValue:
        if lease in self._loop.lanes:
            return adopt(lease, told)
        result = msgspec.msgpack.decode(told, type=StoredResult)
        holds = self._session.far.nodes.holds_of(lease, result)  # type: ignore[union-attr]
        return StoredValue(result.pickled, holds, result.tasks)

    def _cancel(self, numbers: Sequence[int], force: bool, recursive: bool) -> None:
        for number in numbers:
            promise = PROMISES.find(number)
            if promise is not None:
                cancel_promise(promise, force=force, recursive=recursive)

    def _await(self, lease: LeaseId, asked: AwaitPromises) -> None:
        promises = [promise for number in asked.promises if (promise := PROMISES.find(number)) is not None]
        if len(promises) < len(asked.promises) or not 0 < asked.count <= len(promises):
            gone = [number for number in asked.promises if PROMISES.find(number) is None]
            error = ObjectLost(f"nothing is known here of the tasks {gone}: no ref to them was left")
            self._requests.refuse(lease, asked.number, error)
            return
        request = Request(self._requests, lease, asked.number, promises, asked.count)
        request.not_in = asked.not_in
        self._requests.begin(request)

    # Generators -----------------------------------------------------------------------------------------------------

    def _take_items(self, message: StreamItems) -> None:
        """Those of a generator that nobody has any more are dropped. Who waits for them is told at rest."""
        stream = _stream_of(message.stream)
        if stream is not None:
            try:
                ending = stream.arrive(message.first, message.outcomes)
            except ValueError as error:
                raise ProtocolError(str(error)) from None
            self._loop.completions += [Notice(_end, promise, outcome) for promise, outcome in ending]

    def _await_item(self, lease: LeaseId, asked: AwaitItem) -> None:
        stream = _stream_of(asked.stream)
        if stream is None:
            error = ObjectLost(f"nothing is known here of the generator {asked.stream}: its handle was dropped")
            self._requests.refuse(lease, asked.number, error)
            return
        try:
            promise = stream.look(asked.place)
        except ValueError as error:
            raise ProtocolError(str(error)) from None
        self._requests.begin(ItemRequest(self._requests, lease, asked, stream, promise))

    def _await_taken(self, lease: LeaseId, asked: AwaitTaken) -> None:
        """It waits in any case: where too many do, in its place."""
        request = PausedRequest(self._requests, lease, asked.number)
        stream = _stream_of(asked.stream)
        if stream is None or not stream.when_taken(asked.count, request.tell):
            request.taken = None if stream is None else stream.taken()
            self._requests.tell(request)
        else:
            self._requests.pause(request)

    # Ends -----------------------------------------------------------------------------------------------------------

    def _release(self, lease: LeaseId, told: KeepPromises) -> None:
        """Unless it has said meanwhile that it keeps them again."""
        leaving = self._leaving.get(lease, {})
        with LOCK:
            for number in told.dropped:
                if leaving.get(number) is told:
                    del leaving[number]
                    PROMISES.release(number, lease)
                    self._requests.told.forget(lease, number)

    def _forget(self, lease: LeaseId) -> None:
        """Its worker has ended: what it has started goes on."""
        self._questions.lost(lease)
        self._requests.lost(lease)
        self._functions.pop(lease, None)
        self._leaving.pop(lease, None)
        with LOCK:
            PROMISES.drop(lease)


def _end(promise: Promise, outcome: Outcome) -> None:
    end(promise, outcome)


def _stream_of(number: int) -> OwnStream | None:
    """None: nobody has its handle any more."""
    holder = PROMISES.find(number)
    return holder.call if holder is not None and isinstance(holder.call, OwnStream) else None
