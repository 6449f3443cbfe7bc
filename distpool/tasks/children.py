"""Which tasks have started which, so that they are cancelled together."""

from __future__ import annotations

from weakref import WeakKeyDictionary, WeakSet

from distpool.logic.promises import Promise
from distpool.objects.promises import LOCK, end
from distpool.protocol.messages import OutcomeKind

_CANCELLED = (int(OutcomeKind.CANCELLED), b"")


class Children:
    """Of the tasks of this process, each by the first of its promises. Any thread may call any method."""

    def __init__(self) -> None:
        self._of: WeakKeyDictionary[Promise, WeakSet[Promise]] = WeakKeyDictionary()
        # Those that were cancelled with all that they start, and whether by force.
        self._cancelled: WeakKeyDictionary[Promise, bool] = WeakKeyDictionary()

    def note(self, parent: Promise, child: Promise) -> bool | None:
        """A task has started another. If that is not wanted, as its parent is not: whether it is to end by force."""
        with LOCK:
            if parent in self._cancelled:
                return self._cancelled[parent]
            # Also if it has ended: another thread may be about to say that it was cancelled.
            self._of.setdefault(parent, WeakSet()).add(child)
            return None

    def cancel(self, promise: Promise, *, force: bool, recursive: bool) -> None:
        """See `distpool.cancel`. What they have started in the meantime is cancelled when it comes."""
        unwanted = [promise]
        while unwanted:
            promise = unwanted.pop()
            task = promise.call
            # Without one, it was started by a worker a moment ago.
            is_news = end(promise, _CANCELLED) if task is None else task.end(_CANCELLED)
            if not is_news:
                continue
            if recursive:
                first = promise if task is None else task.promises[0]
                with LOCK:
                    self._cancelled[first] = force
                    unwanted += self._of.pop(first, ())
            if task is not None:
                task.workers.cancel(task, force=force)


CHILDREN = Children()
