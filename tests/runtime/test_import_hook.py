"""What is done to a module as soon as it is imported."""

import subprocess
import sys
import textwrap

import pytest

from distpool.runtime.import_hook import when_imported


def test_a_module_that_is_there_is_dealt_with_at_once():
    done = []
    when_imported("sys", lambda: done.append(1))
    assert done == [1]


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "watched_module.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "watched_module"
    sys.modules.pop("watched_module", None)


def test_a_module_is_dealt_with_after_its_import_and_before_the_importer_goes_on(module):
    finders = list(sys.meta_path)
    done = []
    when_imported(module, lambda: done.append(sys.modules[module].value))
    assert done == []
    import watched_module

    assert done == [1]
    assert sys.meta_path == finders
    assert "exec_module" not in vars(watched_module.__loader__)


def test_other_modules_are_found_as_ever(module):
    when_imported("module_of_that_name_that_nobody_has", pytest.fail)
    watch = sys.meta_path[0]
    try:
        import watched_module

        assert watched_module.value == 1
    finally:
        sys.meta_path.remove(watch)
    with pytest.raises(ModuleNotFoundError):
        __import__("module_of_that_name_that_nobody_has")


@pytest.mark.parametrize("start_method", ["fork", "forkserver", "spawn"])
def test_a_program_that_does_not_log_has_no_logging_in_its_workers_and_a_call_that_does_reaches_the_driver(
    start_method, tmp_path
):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
            import sys
            import distpool

            def has_logging():
                return "logging" in sys.modules

            def warn(text):
                import logging
                logging.getLogger("mine").warning(text)
                return has_logging()

            if __name__ == "__main__":
                with distpool.get_context("{start_method}").Pool(1) as pool:
                    print(pool.apply(has_logging))
                    print(pool.apply(warn, ("one",)))
        """)
    )
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=30, check=True)
    assert run.stdout.split() == ["False", "True"]
    assert run.stderr == "one\n"
