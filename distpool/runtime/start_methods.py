"""The start methods, as facades need them: who may have workers, and what these are called."""

from __future__ import annotations

from multiprocessing import process, spawn


def check_may_have_children(start_method: str) -> None:
    """Raises what the standard library raises in a daemonic process, and in a child that still imports `__main__`."""
    if start_method != "fork":
        spawn._check_not_importing_main()  # type: ignore[attr-defined]
    current = process.current_process()
    if current._config.get("daemon"):  # type: ignore[attr-defined]
        from distpool.runtime.worker_process import WorkerProcess  # which only workers have imported

        # A worker of ours may open pools of its own: they end with it, however it ends.
        if not isinstance(current, WorkerProcess):
            raise AssertionError("daemonic processes are not allowed to have children")


def start_method_prefix(start_method: str) -> str:
    """What the names of the standard library's processes begin with: Fork, ForkServer or Spawn."""
    return {"fork": "Fork", "forkserver": "ForkServer", "spawn": "Spawn"}[start_method]
