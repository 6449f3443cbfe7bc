"""When memory is about to run out: which worker is ended, before the system ends a process of its own choice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from distpool.ids import GroupId, LeaseId
from distpool.logic.sizes import size_text

_SHOWN = 8


class Running(msgspec.Struct, frozen=True):
    """A worker that runs a call. `since`: when it was given the call, or was heard of last. `may_repeat`: its caller
    allows that the call runs again. `call`: the name of its function; empty: not known here."""

    lease: LeaseId
    group: GroupId
    since: float
    may_repeat: bool
    call: str = ""


class Weighed(msgspec.Struct, frozen=True):
    """With its process and the memory that is free when it ends. `name`: of the worker, for people."""

    running: Running
    pid: int
    memory_bytes: int
    name: str = ""


class Excess(msgspec.Struct, frozen=True):
    """More is in use than may be. `place`: whose memory it is, in words."""

    place: str
    used_bytes: int
    limit_bytes: int
    total_bytes: int

    def __str__(self) -> str:
        return (
            f"{size_text(self.used_bytes)} of {self.place}, {size_text(self.total_bytes)}, were in use, and the limit "
            f"is {size_text(self.limit_bytes)}"
        )


def worker_to_end(workers: Iterable[Weighed], worth_bytes: int) -> Weighed | None:
    """Of the group that has the most memory, the worker whose call is the youngest: it has lost the least. Calls that
    may run again go first. None: nobody has `worth_bytes`, and to end one would hardly help.

    Nor does a worker that has less than half of what those of its group have on average: another would have to follow.
    """
    groups: dict[GroupId, list[Weighed]] = {}
    for worker in workers:
        if worker.memory_bytes >= worth_bytes:
            groups.setdefault(worker.running.group, []).append(worker)
    if not groups:
        return None
    largest = max(groups.values(), key=lambda group: sum(worker.memory_bytes for worker in group))
    mean = sum(worker.memory_bytes for worker in largest) / len(largest)
    large = [worker for worker in largest if 2 * worker.memory_bytes >= mean]
    return max(large, key=lambda worker: (worker.running.may_repeat, worker.running.since, worker.running.lease))


def why_ended(ended: Weighed, workers: Sequence[Weighed], excess: Excess) -> str:
    """For the caller of the call that was lost: what was in use, and by whom."""
    rows = sorted(workers, key=lambda worker: -worker.memory_bytes)[:_SHOWN]
    table = [("pid", "memory", "worker", "call")]
    for worker in rows:
        call = (worker.running.call or "-") + ("  (ended)" if worker == ended else "")
        table.append((str(worker.pid), size_text(worker.memory_bytes), worker.name or "-", call))
    widths = [max(len(row[column]) for row in table) for column in range(3)]
    lines = [
        f"    {row[0]:>{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:<{widths[2]}}  {row[3]}".rstrip() for row in table
    ]
    return f"{excess}. The largest workers that ran calls:\n" + "\n".join(lines)
