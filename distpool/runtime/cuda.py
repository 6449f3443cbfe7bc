"""Whether CUDA has begun in this process: then it is too late to choose devices for a fork of it."""

from __future__ import annotations

import sys

CUDA_HAS_BEGUN = (
    "a pool of start method 'fork' gives its workers GPUs, but torch.cuda was initialized in this process before: its "
    "workers cannot use CUDA. Use the start method 'forkserver' or 'spawn', or make the pool before CUDA is used"
)


def cuda_has_begun() -> bool:
    """This process has a CUDA context of PyTorch's, which no child that is forked from it can use, nor have another."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    is_initialized = getattr(cuda, "is_initialized", None)  # it may be in the middle of its import
    return is_initialized is not None and bool(is_initialized())
