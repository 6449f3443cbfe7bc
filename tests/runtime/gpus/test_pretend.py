"""Devices that are written down, in a file of their own or among the settings."""

import pytest

from distpool.base_errors import InvalidSetting
from distpool.protocol.devices import Device
from distpool.runtime.gpus import forget_devices, own_devices

GIB = 1024**3


@pytest.fixture(autouse=True)
def looked_for_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    forget_devices()
    yield
    forget_devices()


TABLES = """
[[devices]]
count = 2
memory = "80GiB"
link = 1
numa = 0

[[devices]]
id = "other"
kind = "amd"
name = "MI300X"
"""
DEVICES = (
    Device("pretend-0", "pretend", 80 * GIB, 1, 0),
    Device("pretend-1", "pretend", 80 * GIB, 1, 0),
    Device("other", "amd", 0, 0, -1, "MI300X"),
)


def test_a_file_that_the_environment_names(tmp_path, monkeypatch):
    (tmp_path / "gpus.toml").write_text(TABLES)
    monkeypatch.setenv("DISTPOOL_DEVICES", "gpus.toml")
    assert own_devices() == DEVICES


def test_a_list_in_the_file_of_the_settings_or_a_file_that_it_names(tmp_path):
    (tmp_path / "distpool.toml").write_text(TABLES)
    assert own_devices() == DEVICES
    forget_devices()
    (tmp_path / "gpus.toml").write_text(TABLES)
    (tmp_path / "distpool.toml").write_text('devices = "gpus.toml"')
    assert own_devices() == DEVICES


def test_devices_are_found_once(tmp_path, monkeypatch):
    (tmp_path / "distpool.toml").write_text(TABLES)
    first = own_devices()
    (tmp_path / "distpool.toml").write_text("devices = []")
    assert own_devices() is first
    forget_devices()
    assert own_devices() == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"gpus.toml, which the environment variable DISTPOOL_DEVICES names, has nothing; it must have devices"),
        ("devices = 4", r"devices in .*gpus.toml is 4; it must be a list of tables"),
        ("devices = [4]", r"devices in .*gpus.toml is \[4\]; it must be a list of tables"),
        ("devices = [", r"DISTPOOL_DEVICES names '.*gpus.toml', which cannot be read"),
        ("[[devices]]\nmemroy = 1", r"device 0 in .* has 'memroy' \(did you mean memory\?\); a device has count, id,"),
        ("[[devices]]\ncount = 0", r"device 0 in .*: count is 0; it must be a whole number of at least 1"),
        ("[[devices]]\nlink = true", r"device 0 in .*: link is True; it must be a whole number of at least 0"),
        ("[[devices]]\nnuma = -2", r"device 0 in .*: numa is -2; it must be a whole number of at least -1"),
        ('[[devices]]\nkind = "tpu"', r"device 0 in .*: kind is 'tpu'; it must be one of nvidia, amd, intel, pretend"),
        ('[[devices]]\nmemory = "much"', r"device 0 in .*: memory is 'much'; it must be a number of bytes"),
        ('[[devices]]\nid = "a,b"', r"device 0 in .*: id is 'a,b'; it must be a text without a comma"),
        ('[[devices]]\nid = "a"\ncount = 2', r"device 0 in .* has an id, 'a', and a count of 2"),
        ('[[devices]]\nid = "a"\n[[devices]]\nid = "a"', r"devices in .*: 2 of them have the id 'a'"),
    ],
)
def test_a_mistake_is_named_with_what_is_valid(tmp_path, monkeypatch, text, message):
    (tmp_path / "gpus.toml").write_text(text)
    monkeypatch.setenv("DISTPOOL_DEVICES", "gpus.toml")
    with pytest.raises(InvalidSetting, match=message):
        own_devices()


def test_a_file_that_is_missing_is_named(monkeypatch):
    monkeypatch.setenv("DISTPOOL_DEVICES", "missing.toml")
    with pytest.raises(InvalidSetting, match=r"DISTPOOL_DEVICES names '.*missing.toml', which cannot be read"):
        own_devices()
