"""What a head keeps on disk, and what becomes of a file that cannot be used."""

import logging
import os
import sqlite3
import stat

import msgspec
import pytest

from distpool.errors import DistpoolError
from distpool.ids import LeaseId, NodeId
from distpool.protocol.devices import Device
from distpool.protocol.names import NamedActor
from distpool.protocol.placing import BundleStrategy
from distpool.protocol.records import (
    BundleKept,
    Kept,
    LeaseForgotten,
    LeaseKept,
    NameForgotten,
    NameKept,
    NodeForgotten,
    NodeKept,
    PlacesForgotten,
    PlacesKept,
)
from distpool.protocol.resources import Shape
from distpool.runtime.ledger import Ledger

FIRST, SECOND = NodeKept(NodeId("first"), 11, 2, 2**40), NodeKept(NodeId("second"), 2**56, 4, 0, 30.0)
LEASE = LeaseKept(LeaseId(2**52 - 1), NodeId("first"), 2**56)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "head.db"


def begun(path, life=900):
    """What a head finds there."""
    ledger = Ledger(path)
    try:
        return ledger.begin(life)
    finally:
        ledger.close()


def keep(path, *records):
    ledger = Ledger(path)
    ledger.begin(900)
    ledger.keep(records)
    ledger.close()


def test_the_next_head_finds_what_was_kept_and_has_an_epoch_of_its_own(path):
    assert begun(path) == Kept(900)
    keep(path, FIRST, SECOND, LEASE)
    assert begun(path) == Kept(902, [FIRST, SECOND], [LEASE])
    lost = LeaseKept(LEASE.lease, LEASE.node, LEASE.caller, is_lost=True)
    keep(path, lost, NodeForgotten(NodeId("first")))
    assert begun(path) == Kept(904, [SECOND], [lost])
    keep(path, LeaseForgotten(LEASE.lease))
    assert begun(path).leases == []


def test_devices_and_placement_groups_are_kept(path):
    offered = ((Device("gpu-0", "nvidia", 2**34, 1, 0, "A100"),), (("tpu", 20_000),), (("zone", "eu"),))
    node = NodeKept(NodeId("first"), 11, 2, 2**40, -1.0, *offered)
    bundle = BundleKept(Shape(gpus=5_000), LeaseId(2**52), NodeId("first"), (0,))
    group = PlacesKept(2**55, 11, BundleStrategy.SPREAD, [bundle])
    keep(path, node, group, PlacesKept(7, 11, BundleStrategy.PACK, []))
    keep(path, PlacesForgotten(7))
    assert begun(path) == Kept(902, [node], [], [group])


def test_the_names_of_actors_are_kept(path):
    model = NamedActor("jobs", "model", "tcp://first:1", "key", 3, "Model", b"traits", True, 2**60, "keeper 7")
    keep(path, NameKept(model), NameKept(msgspec.structs.replace(model, name="other")))
    keep(path, NameKept(msgspec.structs.replace(model, endpoint="tcp://first:2")), NameForgotten("jobs", "other"))
    assert begun(path).names == [msgspec.structs.replace(model, endpoint="tcp://first:2")]


@pytest.mark.parametrize("more", ["NULL", "7", "x'ff'", "x'c0'", "x'93010203'"])
def test_a_node_whose_devices_cannot_be_read_makes_a_file_useless(path, more):
    keep(path, FIRST)
    with sqlite3.connect(path) as database:
        database.execute(f"UPDATE nodes SET more = {more}")
    database.close()
    assert begun(path).nodes == []
    assert path.with_name("head.db.damaged-1").exists()


def test_a_head_that_is_killed_has_lost_nothing_of_a_turn_that_it_has_kept(path):
    child = os.fork()
    if not child:
        ledger = Ledger(path)
        ledger.begin(900)
        ledger.keep([FIRST, LEASE])
        os._exit(0)  # nothing is closed
    assert os.waitpid(child, 0)[1] == 0
    assert begun(path) == Kept(901, [FIRST], [LEASE])


def test_its_files_are_private(path, monkeypatch):
    old = os.umask(0)
    try:
        ledger = Ledger(path)
        ledger.begin(900)
        ledger.keep([FIRST])
        files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        ledger.close()
    finally:
        os.umask(old)
    assert files == {"head.db": 0o600, "head.db-wal": 0o600}


def overwrite(path):
    path.write_bytes(b"no database" * 100)


def cut(path):
    path.write_bytes(path.read_bytes()[:5000])


def spoil_a_table(path):
    with sqlite3.connect(path) as database:
        database.execute("UPDATE nodes SET cpus = 'many'")
    database.close()


def from_a_later_version(path):
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()


def open_to_others(path):
    path.chmod(0o644)


def make_a_folder(path):
    path.unlink()
    path.mkdir()


def make_a_link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize(
    "harm", [overwrite, cut, spoil_a_table, from_a_later_version, open_to_others, make_a_folder, make_a_link]
)
def test_a_file_that_cannot_be_used_is_moved_aside_and_the_log_says_so(path, harm, caplog):
    for number in (1, 2):
        keep(path, FIRST)
        harm(path)
        caplog.clear()
        assert begun(path, life=77) == Kept(77), "it begins as if there had been none"
        (line,) = [record.getMessage() for record in caplog.records]
        assert line.startswith(f"{path} cannot be used (")
        assert line.endswith(
            f"it was moved to head.db.damaged-{number}, and this head learns from its nodes what they have"
        )
        assert os.path.lexists(path.with_name(f"head.db.damaged-{number}"))


def test_when_nothing_can_be_written_any_more_the_head_goes_on_and_the_next_does_not_believe_the_rest(path, caplog):
    ledger = Ledger(path)
    ledger.begin(900)
    ledger.keep([FIRST])
    ledger._database.execute("PRAGMA max_page_count = 1")
    with caplog.at_level(logging.ERROR):
        ledger.keep([NodeKept(NodeId("x" * 100_000), 1, 1, 1)])
        ledger.keep([SECOND])
    ledger.close()
    (line,) = [record.getMessage() for record in caplog.records]
    assert "cannot be written (database or disk is full), and was removed" in line
    assert not list(path.parent.iterdir())
    assert begun(path, life=77) == Kept(77)


def test_where_no_file_can_be_made_there_is_an_error_that_says_so(tmp_path):
    with pytest.raises(DistpoolError, match=r"cannot be made: .*; is the disk full, or read-only"):
        Ledger(tmp_path / "missing" / "head.db")
