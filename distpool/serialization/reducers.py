"""How values of a few types are pickled here, in addition to the standard library's ways."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from typing import Any


def reducers() -> dict[type, Callable[[Any], Any]]:
    """By type, for those types whose libraries are imported."""
    table: dict[type, Callable[[Any], Any]] = {memoryview: _reduce_view}
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(numpy, "ndarray"):
        table[numpy.ndarray] = _reduce_array
    return table


def _reduce_view(view: memoryview) -> Any:
    """A memoryview arrives as one, of memory of its own."""
    if len(view.format.lstrip("@")) != 1:
        raise TypeError(f"cannot pickle a memoryview of the format {view.format!r}")
    buffer = pickle.PickleBuffer(view if view.c_contiguous else view.tobytes())
    return _rebuild_view, (buffer, view.format, view.shape)


def _rebuild_view(buffer: Any, form: str, shape: tuple[int, ...]) -> memoryview:
    flat = memoryview(buffer).cast("B")
    if len(shape) == 1 or 0 in shape:
        return flat.cast(form)  # type: ignore[call-overload,no-any-return]
    return flat.cast(form, shape)  # type: ignore[call-overload,no-any-return]


class _Exposed:
    """The memory of a contiguous array as bytes that may be written to; nobody does."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.__array_interface__ = {
            "data": (array.__array_interface__["data"][0], False),
            "shape": (array.nbytes,),
            "typestr": "|u1",
            "version": 3,
        }


def _reduce_array(array: Any) -> Any:
    """Every array arrives as it was, and writable, and every large one leaves the pickle.

    NumPy's own way does that for most. But by protocol 5 what is read only stays so, which it does not by pickle's
    default; what is not contiguous is copied into the pickle, and loses its byte order; and so are dates.
    """
    flags, dtype = array.flags, array.dtype
    if dtype.hasobject or (flags.forc and flags.writeable and dtype.kind not in "mM"):
        return array.__reduce_ex__(5)
    numpy = sys.modules["numpy"]
    order = "F" if flags.fnc else "C"
    if not array.nbytes:
        return numpy.empty, (array.shape, dtype, order)
    whole = array if flags.forc else numpy.ascontiguousarray(array)
    return _rebuild_array, (pickle.PickleBuffer(numpy.asarray(_Exposed(whole))), dtype, array.shape, order)


def _rebuild_array(buffer: Any, dtype: Any, shape: tuple[int, ...], order: Any) -> Any:
    from numpy import ndarray  # where an array is rebuilt it is imported anyway

    return ndarray(shape, dtype, buffer, order=order)
