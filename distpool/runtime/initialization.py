"""What `distpool.init` was given. It holds until `shutdown`, in this process and those that are forked from it."""

# Without `from __future__ import annotations`: a NamedTuple compiles each that is a text, which is a part of what
# `import distpool` takes.
import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

WorkingDir = str | Literal[False] | None
"""A folder; False: none; None: that of the program, on nodes."""

_RESERVED = "DISTPOOL_ADDRESS"


class Initialization(NamedTuple):
    """`address`: of the head; None: no cluster. `environment`: variables of the workers. `requirements`: lines of pip's
    requirements. `namespace`: of the names of actors; None: one of its own. `kind`: of process, for people."""

    address: str | None = None
    working_dir: WorkingDir = None
    environment: dict[str, str] = {}  # noqa: RUF012 (nobody changes it)
    requirements: tuple[str, ...] = ()
    namespace: str | None = None
    kind: str = "process"


NOTHING = Initialization()

_current: list[Initialization] = []


def current() -> Initialization | None:
    """None: `init` was not called."""
    return _current[0] if _current else None


def chosen() -> Initialization:
    """With the defaults where `init` was not called."""
    return _current[0] if _current else NOTHING


def remember(initialization: Initialization) -> None:
    _current[:] = [initialization]


def forget() -> None:
    _current.clear()


_anonymous: list[str] = []


def namespace() -> str:
    """Where names of actors are without more being said; "": one of this process's own."""
    return chosen().namespace or ""


def namespace_of_own() -> str:
    """The name of this process's own, which no other has."""
    if not _anonymous:
        _anonymous.append(f"anonymous-{os.urandom(8).hex()}")
    return _anonymous[0]


os.register_at_fork(after_in_child=_anonymous.clear)


def enter() -> None:
    """In a worker's template that was forked from this very process: have the surroundings that were asked for."""
    here = chosen()
    os.environ.update(here.environment)
    if here.working_dir:
        import sys

        os.chdir(here.working_dir)
        sys.path.insert(0, here.working_dir)


# What users give ------------------------------------------------------------------------------------------------------


def checked_working_dir(value: Any) -> WorkingDir:
    """Raises TypeError and ValueError that name what is valid."""
    if value is None or value is False:
        return value
    if isinstance(value, bool) or not isinstance(value, (str, os.PathLike)):
        raise TypeError(
            f"working_dir is {value!r}, a {type(value).__name__}; it must be the path of a folder, None for that of "
            "the program, or False for none"
        )
    path = os.path.realpath(os.fspath(value))
    if not os.path.isdir(path):
        raise ValueError(f"working_dir is {os.fspath(value)!r}, which is no folder ({path} was looked for)")
    return path


def checked_namespace(value: Any) -> str | None:
    """Raises TypeError and ValueError that name what is valid."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"namespace is {value!r}, a {type(value).__name__}; it must be a str, or None")
    if not value:
        raise ValueError("namespace is empty; it must be a str of at least one character, or None")
    return value


def checked_environment(value: Any) -> dict[str, str]:
    """Raises TypeError and ValueError that name the variable and what is valid."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"env is {value!r}, a {type(value).__name__}; it must be a dict of names and texts")
    for name, text in value.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise TypeError(f"env has {name!r}: {text!r}; names and values must be str")
        if not name or "=" in name or "\0" in name + text:
            raise ValueError(
                f"env has {name!r}: {text!r}; a name is not empty and has no '=', and neither has a null character"
            )
        if name == _RESERVED:
            raise ValueError(f"env has {name}, which workers have of their node: give `address` to init instead")
    return dict(value)


def checked_requirements(value: Any) -> tuple[str, ...]:
    """The lines of pip's requirements: given one by one, or as the path of a file. Raises TypeError, ValueError, and
    OSError for a file that cannot be read."""
    if value is None:
        return ()
    if isinstance(value, (str, os.PathLike)):
        with open(value, encoding="utf-8") as file:
            lines: list[Any] = file.read().splitlines()
    elif isinstance(value, Iterable):
        lines = list(value)
    else:
        raise TypeError(_PIP_FORM.format(value, type(value).__name__))
    for line in lines:
        if not isinstance(line, str):
            raise TypeError(_PIP_FORM.format(value, type(value).__name__))
    stripped = [line.strip() for line in lines]
    if not isinstance(value, (str, os.PathLike)) and ("" in stripped or any("\n" in line for line in stripped)):
        raise ValueError(f"pip is {value!r}: each must be one requirement, such as 'numpy>=2'")
    return tuple(line for line in stripped if line and not line.startswith("#"))


_PIP_FORM = (
    "pip is {!r}, a {}; it must be a list of requirements as pip knows them, such as ['numpy>=2'], or the path of a "
    "requirements file"
)
