"""Run a program as `__main__` the way the `python` command would: what the program sees, prints and exits with.

Decides what `sys.argv`, `sys.path[0]` and the globals of `__main__` hold, and which traceback frames are not the
program's own. The program runs in the real `__main__` module, whose former content is thrown away: only a module that
is itself `__main__` and has nothing left to do may call this. What an exception or `SystemExit` then means is left to
the interpreter, which is why exit codes, `sys.excepthook`, `-i` and Ctrl+C need no code here.
"""

import builtins
import os
import pkgutil
import sys
from importlib.machinery import SourceFileLoader, SourcelessFileLoader
from types import CodeType, TracebackType
from typing import Any, NoReturn

PACKAGE_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def run_script(path: str, arguments: list[str]) -> None:
    """Run the file, folder or zip archive `path` like `python path arguments…`.

    Exits with code 2 and Python's message when the file cannot be read.
    """
    sys.argv[:] = [path, *arguments]
    full_path = path if os.path.isabs(path) else os.path.join(os.getcwd(), path)
    if pkgutil.get_importer(full_path) is not None:
        _enter_folder(full_path, even_in_safe_mode=True)
        _run_by_runpy("__main__", alter_argv=False)
        return
    code = _load_code(full_path)
    _enter_folder(os.path.dirname(os.path.realpath(full_path)))
    main_globals = _empty_main()
    main_globals.update(__file__=full_path, __cached__=None, __loader__=_loader(full_path))
    try:
        exec(code, main_globals)
    except SystemExit:
        raise
    except BaseException as error:
        _hide_outer_frames(error, error.__traceback__)
        raise


def run_module(name: str, arguments: list[str]) -> None:
    """Run the module or package `name` like `python -m name arguments…`; `sys.path[0]` stays the current folder."""
    sys.argv[:] = ["-m", *arguments]
    _run_by_runpy(name, alter_argv=True)


def _run_by_runpy(name: str, alter_argv: bool) -> None:
    # The interpreter itself runs `-m`, folders and archives through this function; there is no public twin of it.
    from runpy import _run_module_as_main  # type: ignore[attr-defined]

    _empty_main()
    try:
        _run_module_as_main(name, alter_argv)
    except SystemExit:
        raise
    except BaseException as error:
        _hide_outer_frames(error, error.__traceback__)
        raise


def _empty_main() -> dict[str, Any]:
    """The globals of `__main__` as they are before a script's first line."""
    main_globals = sys.modules["__main__"].__dict__
    main_globals.clear()
    main_globals.update(
        __name__="__main__", __doc__=None, __package__=None, __loader__=None, __spec__=None, __builtins__=builtins
    )
    if sys.version_info < (3, 14):
        main_globals["__annotations__"] = {}
    return main_globals


def _enter_folder(folder: str, even_in_safe_mode: bool = False) -> None:
    """Make `folder` the first entry of `sys.path`, in place of the current folder that `-m` has put there."""
    former = None if sys.flags.safe_path else sys.path.pop(0)
    if even_in_safe_mode or not sys.flags.safe_path:
        sys.path.insert(0, folder)
    if former == PACKAGE_FOLDER and former not in sys.path:
        # distpool was found in the current folder only; workers and children must still find it.
        sys.path.append(former)


def _loader(path: str) -> SourceFileLoader | SourcelessFileLoader:
    return (SourcelessFileLoader if path.endswith(".pyc") else SourceFileLoader)("__main__", path)


def _load_code(path: str) -> CodeType:
    loader = _loader(path)
    try:
        data = loader.get_data(path)
    except OSError as error:
        _exit_unreadable(path, error)
    try:
        if isinstance(loader, SourceFileLoader):
            return compile(data, path, "exec", dont_inherit=True)
        code = loader.get_code("__main__")
        if code is None:
            raise ImportError(f"no code in {path!r}")
        return code
    except Exception as error:
        # None of the frames is the script's: Python shows a syntax error without a traceback.
        _hide_outer_frames(error, None)
        raise


def _exit_unreadable(path: str, error: OSError) -> NoReturn:
    print(f"{sys.orig_argv[0]}: can't open file {path!r}: [Errno {error.errno}] {error.strerror}", file=sys.stderr)
    raise SystemExit(2) from None


def _hide_outer_frames(error: BaseException, caught: TracebackType | None) -> None:
    """Report `error`, once it leaves this process's last frame, with the frames below the one that caught it only.

    The traceback still grows while the exception unwinds through distpool and runpy, so it is cut when it is shown.
    The caller raises `error` on.
    """
    own_frames = caught.tb_next if caught is not None else None
    hook = sys.excepthook

    def show(kind: type[BaseException], value: BaseException, traceback: TracebackType | None) -> None:
        sys.excepthook = hook
        if value is error:
            value.__traceback__ = traceback = sys.last_traceback = own_frames
        hook(kind, value, traceback)

    sys.excepthook = show
