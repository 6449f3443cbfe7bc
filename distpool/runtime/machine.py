"""What this machine has that a process of a cluster needs: one check for each, with what was found and what to do."""

from __future__ import annotations

import os
import resource
from enum import Enum
from typing import NamedTuple

from distpool.base_errors import DistpoolError
from distpool.logic.sizes import size_text
from distpool.objects.limits import memory_bytes, memory_is_short, spill_folder, store_size

_FILES_OF_PROCESS = 64
_FILES_OF_WORKER = 8
_SHARED_MEMORY = "/dev/shm"
_STORE_ADDRESSES = 1 << 60


class Result(Enum):
    """Of a check."""

    OK = "ok"
    FAILED = "FAILED"
    SKIPPED = "-"
    """It cannot be made, as what it needs is not there, or nobody needs it."""


class Check(NamedTuple):
    """`found`: what is so. `remedy`: what to do where that is not as it should be."""

    name: str
    result: Result
    found: str
    remedy: str = ""


def check_memory_files() -> Check:
    """Memory without a name, in which the store lies, and results."""
    name = "memory files"
    try:
        descriptor = os.memfd_create("distpool-check", os.MFD_CLOEXEC)
        try:
            os.ftruncate(descriptor, _STORE_ADDRESSES)
            os.posix_fallocate(descriptor, 0, 1)
        finally:
            os.close(descriptor)
    except (AttributeError, OSError) as error:
        remedy = "allow memfd_create: Linux 3.17 or later, and no filter of system calls that forbids it"
        return Check(name, Result.FAILED, f"memfd_create does not work: {error}", remedy)
    return Check(name, Result.OK, "memfd_create works")


def check_shared_memory() -> Check:
    """Where the standard library's locks, semaphores and queues lie."""
    name = "shared memory"
    if not os.path.isdir(_SHARED_MEMORY) or not os.access(_SHARED_MEMORY, os.W_OK | os.X_OK):
        remedy = f"mount a tmpfs at {_SHARED_MEMORY} that this user may write to"
        return Check(name, Result.FAILED, f"{_SHARED_MEMORY} is missing or cannot be written to", remedy)
    return Check(name, Result.OK, f"{_SHARED_MEMORY} can be written to")


def check_open_files(cpus: int) -> Check:
    """For so many workers. A node raises its limit to what it needs, as far as that is allowed."""
    name = "open files"
    needed = _files_needed(cpus)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    found = f"{cpus} workers need {needed}"
    if most == resource.RLIM_INFINITY or most >= needed:
        return Check(name, Result.OK, found)
    remedy = "a higher hard limit of open files (limits.conf, LimitNOFILE=), or fewer workers"
    return Check(name, Result.FAILED, f"{found}, the hard limit is {most}", remedy)


def _files_needed(cpus: int) -> int:
    return _FILES_OF_PROCESS + cpus * _FILES_OF_WORKER


def check_memory() -> Check:
    """What is free, and what the store may take of it."""
    name = "memory"
    try:
        limit = store_size(None)
    except ValueError as error:
        return Check(name, Result.FAILED, str(error), "give the store a size of one of these forms")
    found = f"{size_text(memory_bytes())}, of which the store may take {size_text(limit)}"
    if memory_is_short():
        return Check(
            name, Result.FAILED, f"{found}; hardly any is available", "end other programs, or take more memory"
        )
    return Check(name, Result.OK, found)


def check_spill_folder() -> Check:
    """Where objects go that do not fit into memory."""
    name = "spill folder"
    try:
        folder = spill_folder(None)
        about = os.statvfs(folder)
    except (OSError, ValueError) as error:
        return Check(name, Result.FAILED, str(error), "set spill_folder to a folder that this user may write to")
    free = about.f_bavail * about.f_frsize
    if not os.access(folder, os.W_OK | os.X_OK) or not free:
        found = f"{folder} cannot be written to, or is full"
        return Check(name, Result.FAILED, found, "set spill_folder to another folder")
    return Check(name, Result.OK, f"{folder} with {size_text(free)} free")


def checks_of_machine(cpus: int) -> list[Check]:
    """All of them, for so many workers."""
    return [
        check_memory_files(),
        check_shared_memory(),
        check_open_files(cpus),
        check_memory(),
        check_spill_folder(),
    ]


def prepare_node(cpus: int) -> None:
    """Let this process open the files of so many workers. Raises DistpoolError when this machine can be no node."""
    for check in (check_memory_files(), check_shared_memory(), check_open_files(cpus)):
        if check.result is Result.FAILED:
            raise DistpoolError(f"this machine can be no node: {check.name}: {check.found}; remedy: {check.remedy}")
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != allowed < _files_needed(cpus):
        resource.setrlimit(resource.RLIMIT_NOFILE, (_files_needed(cpus), most))
