"""Tasks: functions whose calls run in workers and give refs at once. `remote` makes them; see docs/tasks.md."""

from distpool.tasks.functions import RemoteFunction, remote
from distpool.tasks.program import cancel

__all__ = ["RemoteFunction", "cancel", "remote"]
