"""What users may set: where it is looked for, in which order, and what is said of a mistake."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import distpool
from distpool import settings
from distpool.base_errors import InvalidSetting
from distpool.cli import main
from distpool.config import SETTINGS
from distpool.settings.table import TABLE


@pytest.fixture(autouse=True)
def nothing_set(tmp_path, monkeypatch):
    """A working directory of its own, and no variable."""
    for name in [name for name in os.environ if name.startswith("DISTPOOL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_a_process_that_sets_nothing_reads_nothing_and_has_the_defaults():
    code = (
        "import sys; from distpool.settings import current; c = current(); print(c.address, 'tomllib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("None False\n", "")
    assert settings.current().constants is SETTINGS


def test_the_environment_goes_before_the_file_and_that_before_the_default(tmp_path, monkeypatch):
    chosen = [settings.current()]
    (tmp_path / "distpool.toml").write_text('address = "in-file"\nbeat = 0.25\nsilence_limit = "4s"\n')
    chosen.append(settings.current())
    monkeypatch.setenv("DISTPOOL_ADDRESS", "in-environment")
    chosen.append(settings.current())
    assert [found.address for found in chosen] == [None, "in-file", "in-environment"]
    assert [found.sources.get("address") for found in chosen] == [
        None,
        f"address in {tmp_path}/distpool.toml",
        "the environment variable DISTPOOL_ADDRESS",
    ]
    assert (chosen[-1].constants.beat_every_s, chosen[-1].constants.silence_limit_s) == (0.25, 4.0)
    assert chosen[-1].constants.head_gone_limit_s == SETTINGS.head_gone_limit_s
    monkeypatch.setenv("DISTPOOL_ADDRESS", "")
    assert settings.current().address is None, "what is set to nothing hides what the file says"


def test_the_file_may_be_another_one_or_none_and_its_paths_are_relative_to_it(tmp_path, monkeypatch):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (tmp_path / "distpool.toml").write_text('home = "not this one"\n')
    (folder / "other.toml").write_text('home = "keys"\nspill_folder = "~/spill"\n')
    monkeypatch.setenv("DISTPOOL_CONFIG", str(folder / "other.toml"))
    assert settings.current().home == str(folder / "keys")
    assert settings.current().spill_folder == os.path.expanduser("~/spill")
    monkeypatch.setenv("DISTPOOL_HOME", "keys")
    assert settings.current().home == "keys"
    monkeypatch.delenv("DISTPOOL_HOME")
    monkeypatch.setenv("DISTPOOL_CONFIG", "")
    assert settings.current().home is None
    monkeypatch.setenv("DISTPOOL_CONFIG", "missing.toml")
    with pytest.raises(InvalidSetting, match=r"DISTPOOL_CONFIG names 'missing.toml', which does not exist"):
        settings.current()


@pytest.mark.parametrize(("text", "seconds"), [("5s", 5.0), ("500ms", 0.5), ("1.5min", 90.0), ("7", 7.0), ("2.5", 2.5)])
def test_a_duration_has_the_forms_of_the_options_of_calls_or_is_a_number(text, seconds, monkeypatch):
    monkeypatch.setenv("DISTPOOL_CONNECT_LIMIT", text)
    assert settings.current().constants.connect_limit_s == seconds


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (
            'adress = "x"',
            r"^adress in /.*distpool.toml is no setting \(did you mean address\?\); there are address, home,",
        ),
        ("colour = 1", r"^colour in .* is no setting; there are .*head_gone_limit$"),
        ("address = 7117", r"^address in .*distpool.toml is 7117, a int; it must be a text$"),
        ("spill_folder = 1", r"^spill_folder in .* is 1, a int; it must be a path$"),
        ('connect_limit = "soon"', r'^connect_limit in .* is \'soon\'; it must be a number of seconds .*"500ms"'),
        ("connect_limit = -1", r"^connect_limit in .* is -1; it must be a number of seconds above 0"),
        ("connect_limit = true", r"^connect_limit in .* is True, a bool; it must be"),
        ('store_size = "much"', r"^store_size in .* is 'much'; it must be a number of bytes, .*'512MiB'"),
        ('silence_limit = "600ms"', r"^silence_limit in .*: the silence limit is 0.6 s and the beat 0.5 s; .* 2 beats"),
        ("[cluster]\nbeat = 1", r"^cluster in .* is no setting"),
        ("address = ", r"^/.*distpool.toml cannot be read as settings: Invalid value \(at "),
        (b"address = '\xff'", r"^/.*distpool.toml cannot be read as settings: 'utf-8' codec"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_what_is_valid(file, message, tmp_path):
    (tmp_path / "distpool.toml").write_bytes(file if isinstance(file, bytes) else file.encode())
    with pytest.raises(InvalidSetting, match=message):
        settings.current()


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("DISTPOOL_ADRESS", r"^DISTPOOL_ADRESS in the environment is no setting \(did you mean DISTPOOL_ADDRESS\?\); "),
        ("DISTPOOL_BEAT", r"^the environment variable DISTPOOL_BEAT is 'x'; it must be a number of seconds"),
    ],
)
def test_a_mistake_in_the_environment_stops_a_pool_before_it_starts(variable, message, monkeypatch):
    monkeypatch.setenv(variable, "x")
    with pytest.raises(InvalidSetting, match=message):
        distpool.Pool(1)


@pytest.mark.parametrize(
    "command",
    [
        ["head"],
        ["node"],
        ["run", "--", "true"],
        ["status"],
        ["logs"],
        ["stack", "--all"],
        ["cleanup"],
        ["keys", "list"],
    ],
)
def test_a_mistake_stops_each_command_in_one_line(command, monkeypatch, capsys):
    monkeypatch.setenv("DISTPOOL_BEATS", "1s")
    assert main(command) == 1
    assert capsys.readouterr().err.startswith(
        f"distpool {command[0]}: DISTPOOL_BEATS in the environment is no setting (did"
    )


def test_what_kubernetes_tells_of_a_service_called_distpool_is_no_setting(monkeypatch):
    for name in ("DISTPOOL", "DISTPOOL_HEAD"):
        endings = (
            "SERVICE_HOST SERVICE_PORT SERVICE_PORT_LINKS PORT PORT_7117_TCP PORT_7117_TCP_ADDR PORT_7117_TCP_PROTO"
        )
        for ending in endings.split():
            monkeypatch.setenv(f"{name}_{ending}", "tcp://10.0.0.1:7117")
    assert settings.current().sources == {}


def test_the_page_about_the_settings_lists_them_all():
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    for name, setting in TABLE.items():
        assert f"| `{name}` | {setting.about} | {setting.default} |" in page
