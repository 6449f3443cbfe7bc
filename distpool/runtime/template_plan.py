"""What a template is told when it starts. The driver, which makes it, needs nothing else of a template's code."""

from __future__ import annotations

import msgspec

from distpool.ids import StoreId
from distpool.runtime.worker_setup import WorkerSetup


class TemplatePlan(msgspec.Struct):
    """What a template needs to know of its pool. `pickled_setup`: of a caller elsewhere; nobody but the template opens
    it, and takes from `setup` only what the node knows. `folder`: where the caller's code lies, if it was shipped."""

    start_method: str
    driver_pid: int
    worker_name: str
    daemon: bool
    setup: WorkerSetup
    ring_bytes: int
    store_id: StoreId
    pickled_setup: bytes | None = None
    folder: str = ""
