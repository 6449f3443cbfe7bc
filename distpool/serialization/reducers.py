"""How values of a few types are pickled here, in addition to the standard library's ways."""

from __future__ import annotations

import copyreg
import pickle
import sys
from collections.abc import Callable
from importlib import import_module
from multiprocessing.reduction import ForkingPickler
from typing import Any


def reducers() -> dict[type, Callable[[Any], Any]]:
    """By type, for those types whose libraries are imported."""
    table: dict[type, Callable[[Any], Any]] = {memoryview: _reduce_view}
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(numpy, "ndarray"):
        table[numpy.ndarray] = _reduce_array
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "Tensor"):
        table[torch.Tensor] = _reduce_tensor
    return table


def merged_reducers() -> dict[type, Callable[[Any], Any]]:
    """These, and those that are registered with `copyreg` and multiprocessing, which come first; but for PyTorch's."""
    ours = reducers()
    extra = ForkingPickler._extra_reducers  # type: ignore[attr-defined]
    of_torch = {kind for kind, reduce in extra.items() if getattr(reduce, "__module__", "").startswith("torch.")}
    first = {kind: reduce for kind, reduce in ours.items() if kind in of_torch}
    return {**ours, **copyreg.dispatch_table, **extra, **first}


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
    """The memory of a contiguous array or tensor as bytes that may be written to; nobody does."""

    def __init__(self, owner: Any, address: int, size: int) -> None:
        self.owner = owner
        self.__array_interface__ = {"data": (address, False), "shape": (size,), "typestr": "|u1", "version": 3}


def _bytes_of(owner: Any, address: int, size: int) -> pickle.PickleBuffer:
    numpy: Any = import_module("numpy")  # whoever has arrays or tensors has it
    return pickle.PickleBuffer(numpy.asarray(_Exposed(owner, address, size)))


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
    buffer = _bytes_of(whole, whole.__array_interface__["data"][0], whole.nbytes)
    return _rebuild_array, (buffer, dtype, array.shape, order)


def _rebuild_array(buffer: Any, dtype: Any, shape: tuple[int, ...], order: Any) -> Any:
    from numpy import ndarray  # where an array is rebuilt it is imported anyway

    return ndarray(shape, dtype, buffer, order=order)


def _reduce_tensor(tensor: Any) -> Any:
    """A plain tensor in this process's memory arrives as a copy of its own, like an array.

    PyTorch would move it into shared memory, here and there the same, and keep a descriptor open for it. It still does
    so with tensors that are shared already, and with all that are not plain.
    """
    torch = sys.modules["torch"]
    is_plain = (
        tensor.device.type == "cpu"
        and tensor.layout is torch.strided
        and tensor.numel()
        and (tensor.is_leaf or not tensor.requires_grad)
        and not (tensor.is_shared() or tensor.is_quantized or tensor.is_conj() or tensor.is_neg() or tensor.__dict__)
    )
    if not is_plain:
        return ForkingPickler._extra_reducers[torch.Tensor](tensor)  # type: ignore[attr-defined]
    whole = tensor.detach().contiguous()
    buffer = _bytes_of(whole, whole.data_ptr(), whole.numel() * whole.element_size())
    return _rebuild_tensor, (buffer, tensor.dtype, tuple(tensor.shape), tensor.requires_grad)


def _rebuild_tensor(buffer: Any, dtype: Any, shape: tuple[int, ...], requires_grad: bool) -> Any:
    torch: Any = import_module("torch")
    return torch.frombuffer(buffer, dtype=dtype).reshape(shape).requires_grad_(requires_grad)
