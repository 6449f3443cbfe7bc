"""Tasks: functions whose calls run in workers and give refs at once. `remote` makes them; see docs/tasks.md."""

from distpool.tasks.functions import RemoteFunction, remote

__all__ = ["RemoteFunction", "remote"]
