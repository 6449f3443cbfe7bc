"""What a worker of a node says when a module is not there: which, where, and how it gets there."""

from __future__ import annotations


def name_node(error: BaseException, node: str) -> None:
    """Add that to the message of a ModuleNotFoundError."""
    if not node or not isinstance(error, ModuleNotFoundError) or error.msg.endswith(_REMEDY):
        return
    error.msg = f"{error.msg} (on node {node!r}): {_REMEDY}"
    error.args = (error.msg,)  # which travel


_REMEDY = (
    "if it is the program's own, ship the folder that it lies in with distpool.init(working_dir=...); if it is a "
    "package, have it installed with distpool.init(pip=[...])"
)
