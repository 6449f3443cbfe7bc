"""Parts of a store's memory in this process's own: to be read as private copies, read only, or written.

To map 100 MB costs little, but the first look at each page and the end of the mapping cost 14 ms. So a mapping whose
last view is gone is kept: after the pages that were written to, which the kernel lists, were reset, it shows whatever
lies at its offset by then, and is given to the next reader of that offset.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from distpool.store.libc import LIBC

PAGE = mmap.PAGESIZE
_KEPT_BYTES = 4 << 30
_KEPT_MAPPINGS = 256
_MADV_DONTNEED = 4
_MADV_DONTFORK = 10
_MADV_DOFORK = 11
_MADV_POPULATE_WRITE = 23  # since Linux 5.14

# Of a page's entry in /proc/self/pagemap the highest byte: present or swapped, and not the file's own page.
_IS_OWN_PAGE = bytes(bool(byte & 0xC0 and not byte & 0x20) for byte in range(256))
_OWN_PAGES = re.compile(b"\x01+")

_mmap, _munmap, _madvise = LIBC.mmap, LIBC.munmap, LIBC.madvise
_FAILED = ctypes.c_void_p(-1).value

_PRIVATE = (mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE)
_READ_ONLY = (mmap.PROT_READ, mmap.MAP_SHARED)
# Its pages are there, and all of them are about to be written.
_WRITER = (mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | mmap.MAP_POPULATE)


class _Mapped(ctypes.c_char * (1 << 46)):  # type: ignore[misc]
    """The memory of one mapping as an object: when the last view of it is gone, so is this. Its type has a fixed
    length, as ctypes would keep one for each; only the beginning is ever looked at."""

    on_end: Callable[[], object]

    def __del__(self) -> None:
        self.on_end()


class Mappings:
    """This process's mappings of one store's memory.

    Without locks, as the end of a view may come at any place, in any thread: a mapping is in the dictionary of those
    that are kept or has one owner, and each step that moves it is one operation of a dictionary.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._kept: dict[tuple[tuple[int, int], int], tuple[int, int]] = {}
        # Private views in use, by their address: offset, length, and what is called at their end.
        self._in_use: dict[int, tuple[int, int, Callable[[], object]]] = {}
        self._kept_bytes = 0
        self._pid = os.getpid()
        self._is_closed = False

    def view(self, offset: int, size: int, on_end: Callable[[], object], *, readonly: bool = False) -> memoryview:
        """What lies at the offset, a multiple of the page size: a private copy, made where it is written to, or else
        read only. `on_end` is called when nobody has any part of it any more."""
        how = _READ_ONLY if readonly else _PRIVATE
        address, length = self._take(how, offset, size)
        _madvise(address, length, _MADV_DOFORK)
        mapped = _Mapped.from_address(address)

        if not readonly:
            self._in_use[address] = (offset, length, on_end)

        def end() -> None:
            if os.getpid() == self._pid:
                self._in_use.pop(address, None)
                self._keep(how, offset, address, length)
                on_end()

        mapped.on_end = end
        view = memoryview(mapped)[:size].cast("B")
        return view.toreadonly() if readonly else view

    def unshare(self, offset: int) -> bool:
        """Give the private views of what lies there pages of their own, as if all of them had been written to, and call
        their `on_end`: they need what lies there no more. False when there are none, or the kernel cannot do that."""
        views = [(address, view) for address, view in list(self._in_use.items()) if view[0] == offset]
        done = [address for address, view in views if not _madvise(address, view[1], _MADV_POPULATE_WRITE)]
        for address in done:
            view = self._in_use.pop(address, None)
            if view is not None:
                view[2]()
        return bool(done)

    @contextmanager
    def writer(self, offset: int, size: int) -> Iterator[memoryview]:
        """The memory at the offset itself, to be written to."""
        address, length = self._take(_WRITER, offset, size)
        mapped = _Mapped.from_address(address)
        mapped.on_end = _do_nothing
        try:
            yield memoryview(mapped)[:size].cast("B")
        finally:
            self._keep(_WRITER, offset, address, length)

    def forget(self, offset: int) -> None:
        """Nothing will lie there any more."""
        for how in (_PRIVATE, _READ_ONLY, _WRITER):
            self._unmap((how, offset))

    def close(self) -> None:
        """Keep none. Views that are left stay what they are."""
        self._is_closed = True
        for key in list(self._kept):
            self._unmap(key)

    def _take(self, how: tuple[int, int], offset: int, size: int) -> tuple[int, int]:
        length = -(-size // PAGE) * PAGE
        kept = self._kept.pop((how, offset), None)
        if kept is not None:
            self._kept_bytes -= kept[1]
            if kept[1] >= length:
                return kept
            _munmap(*kept)
        protection, flags = how
        address = _mmap(None, length, protection, flags, self._descriptor, offset)
        if address == _FAILED:
            number = ctypes.get_errno()
            raise OSError(number, f"{size} bytes of the store cannot be mapped: {os.strerror(number)}")
        return address, length

    def _keep(self, how: tuple[int, int], offset: int, address: int, length: int) -> None:
        key = (how, offset)
        if self._is_closed or key in self._kept or length > _KEPT_BYTES:
            _munmap(address, length)
            return
        if how is _PRIVATE:
            _reset_own_pages(address, length)
        _madvise(address, length, _MADV_DONTFORK)
        self._kept_bytes += length
        self._kept[key] = (address, length)
        while self._kept_bytes > _KEPT_BYTES or len(self._kept) > _KEPT_MAPPINGS:
            self._unmap(next(iter(self._kept)))

    def _unmap(self, key: tuple[tuple[int, int], int]) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._kept_bytes -= kept[1]
            _munmap(*kept)


def _reset_own_pages(address: int, length: int) -> None:
    """Drop the pages that were written to, so that the file's show again."""
    entries = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        pages = os.pread(entries, length // PAGE * 8, address // PAGE * 8)
    finally:
        os.close(entries)
    if len(pages) != length // PAGE * 8:
        _madvise(address, length, _MADV_DONTNEED)
        return
    for run in _OWN_PAGES.finditer(pages[7::8].translate(_IS_OWN_PAGE)):
        start, end = run.span()
        _madvise(address + start * PAGE, (end - start) * PAGE, _MADV_DONTNEED)


def _do_nothing() -> None:
    pass
