"""A node's supplier: pieces become a folder that is kept, and each question has one answer, whatever goes wrong."""

import os
import select

import msgspec
import pytest

from distpool.config import SETTINGS
from distpool.ids import GroupId
from distpool.protocol.code import (
    PIECE_BYTES,
    CodeMissing,
    CodePiece,
    CodeStored,
    DropCode,
    DropSupplies,
    GatherSupplies,
    SuppliesFailed,
    SuppliesReady,
    Surroundings,
)
from distpool.runtime.packages import Package
from distpool.runtime.supplier import Supplier

GROUP = GroupId(3)
LIMIT_S = 20


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "module.py").write_text("TEXT = 'one'")
    (folder / "large.bin").write_bytes(os.urandom(2 * PIECE_BYTES))
    made = Package(str(folder), SETTINGS)
    yield made
    made.close()


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTPOOL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def supplier(home):
    made = Supplier(SETTINGS)
    yield made
    made.close()


def answer(supplier):
    poll = select.poll()
    poll.register(supplier.descriptor, select.POLLIN)
    assert poll.poll(LIMIT_S * 1000), "no answer"
    os.eventfd_read(supplier.descriptor)
    (only,) = supplier.take_answers()
    return only


def pieces(package):
    return [CodePiece(package.hash, at, package.piece(at)) for at in range(0, package.size, PIECE_BYTES)]


def gather(package):
    return GatherSupplies(GROUP, Surroundings(package.hash, package.size))


def ask_and_miss(supplier, package):
    supplier.handle(gather(package))
    assert answer(supplier) == CodeMissing(GROUP)


def test_pieces_become_a_folder_that_stays_while_a_group_needs_it(supplier, package, home):
    ask_and_miss(supplier, package)
    for piece in pieces(package):
        supplier.handle(piece)
    assert answer(supplier) == CodeStored(package.hash)
    supplier.handle(gather(package))
    folder = home / "cache" / "code" / package.hash
    assert answer(supplier) == SuppliesReady(GROUP, str(folder), "")
    assert (folder / "module.py").read_text() == "TEXT = 'one'"
    small = Supplier(msgspec.structs.replace(SETTINGS, code_cache_bytes=0))  # of another node, which keeps nothing
    assert folder.exists()
    supplier.handle(DropSupplies(GROUP))
    small._code.remove_old()
    assert not folder.exists()
    small.close()


def test_a_piece_that_is_damaged_and_a_package_that_is_another_are_told(supplier, package):
    ask_and_miss(supplier, package)
    first, *others = pieces(package)
    supplier.handle(first)
    supplier.handle(msgspec.structs.replace(others[0], data=b"no zlib"))
    assert "a piece of a package is damaged" in answer(supplier).failure
    for piece in (first, msgspec.structs.replace(first, offset=PIECE_BYTES), *others[1:]):
        supplier.handle(piece)
    told = answer(supplier)
    assert told.failure.startswith("a package of hash ")
    assert f"where {package.hash} was expected" in told.failure


def test_of_a_package_of_which_no_more_comes_nothing_is_left(supplier, package, home):
    ask_and_miss(supplier, package)
    supplier.handle(pieces(package)[0])
    supplier.handle(DropCode(package.hash))
    supplier.handle(DropSupplies(GROUP))
    assert [path.name for path in home.rglob("*") if path.suffix != ".lock"] == ["cache", "code"]


def test_a_folder_that_cannot_be_written_to_is_told(supplier, package, home):
    (home / "cache").parent.mkdir()
    (home / "cache").write_text("a file in the way")
    supplier.handle(gather(package))
    told = answer(supplier)
    assert isinstance(told, SuppliesFailed)
    assert "cache" in told.text
    supplier.handle(pieces(package)[0])
    assert "exists" in answer(supplier).failure


def test_a_package_that_is_larger_than_what_is_kept_is_refused(home, package):
    supplier = Supplier(msgspec.structs.replace(SETTINGS, code_cache_bytes=PIECE_BYTES))
    supplier.handle(gather(package))
    assert answer(supplier) == SuppliesFailed(GROUP, "the code has 1.0 MiB, and 512.0 KiB are kept")
    supplier.close()
