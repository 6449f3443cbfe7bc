"""Views of a store's memory: private copies that start clean each time, whoever had the mapping before."""

import gc
import os

import pytest

from distpool.store.mappings import PAGE, Mappings
from distpool.store.memory import Memory

SIZE = 64 * PAGE


@pytest.fixture
def memory():
    descriptor = os.memfd_create("memory")
    os.ftruncate(descriptor, 1 << 40)
    memory = Memory(descriptor)
    memory.write(0, [b"a" * SIZE], 0)
    memory.write(SIZE, [b"b" * SIZE], 0)
    yield memory
    memory.close()


def mappings_of_process():
    with open("/proc/self/maps") as maps:
        return sum("/memfd:memory" in line for line in maps)


def nothing():
    pass


def test_a_private_view_is_a_copy_of_its_own(memory):
    one, other = (memory.mappings.view(0, SIZE, nothing) for _ in range(2))
    one[5] = ord("x")
    assert (one[5], other[5]) == (ord("x"), ord("a"))
    assert memory.read(0, 10) == b"a" * 10


def test_the_end_of_the_last_part_is_told_once(memory):
    ends = []
    view = memory.mappings.view(0, SIZE, lambda: ends.append(1))
    part = view[100:200]
    del view
    assert ends == []
    del part
    assert ends == [1]


def test_a_mapping_is_kept_and_starts_clean(memory):
    view = memory.mappings.view(0, SIZE, nothing)
    for position in (0, 5, 10 * PAGE, 11 * PAGE + 7, SIZE - 1):
        view[position] = ord("x")
    del view
    assert mappings_of_process() == 1
    again = memory.mappings.view(0, SIZE, nothing)
    assert mappings_of_process() == 1
    assert bytes(again) == b"a" * SIZE


def test_a_mapping_that_is_kept_shows_what_lies_there_now(memory):
    for number in range(5):
        content = bytes([65 + number]) * SIZE
        memory.write(0, [content], SIZE)
        view = memory.mappings.view(0, SIZE - number * PAGE, nothing)
        assert bytes(view) == content[: len(view)]
        view[number * PAGE] = 0
        del view


def test_two_views_of_one_place_are_two_mappings_of_which_one_is_kept(memory):
    views = [memory.mappings.view(0, SIZE, nothing) for _ in range(3)]
    assert mappings_of_process() == 3
    del views
    gc.collect()
    assert mappings_of_process() == 1


def test_a_larger_view_replaces_a_mapping_that_is_too_small(memory):
    del (views := [memory.mappings.view(0, PAGE, nothing)])[0]
    assert views == []
    assert bytes(memory.mappings.view(0, 2 * SIZE, nothing)) == b"a" * SIZE + b"b" * SIZE


def test_a_read_only_view_is_the_memory_itself(memory):
    view = memory.mappings.view(0, SIZE, nothing, readonly=True)
    memory.write(0, [b"c" * SIZE], SIZE)
    assert view[7] == ord("c")
    with pytest.raises(TypeError, match="read-only"):
        view[0] = 1


def test_unshared_views_need_their_place_no_more(memory):
    ends = []
    view = memory.mappings.view(0, SIZE, lambda: ends.append(1))
    view[3] = ord("x")
    assert memory.mappings.unshare(0)
    assert ends == [1]
    memory.write(0, [b"z" * SIZE], SIZE)
    memory.give_back(0, SIZE)
    assert bytes(view) == b"aaax" + b"a" * (SIZE - 4)
    assert not memory.mappings.unshare(0)
    assert not memory.mappings.unshare(SIZE)
    del view
    memory.write(0, [b"y" * SIZE], 0)
    assert bytes(memory.mappings.view(0, SIZE, nothing)) == b"y" * SIZE


def test_what_is_given_back_is_zeros_and_takes_no_pages(memory):
    memory.give_back(0, SIZE)
    assert memory.read(0, 10) == bytes(10)
    assert os.fstat(memory.descriptor).st_blocks * 512 == SIZE


def test_large_warm_writes_through_a_mapping(memory):
    size = 5 << 20
    memory.write(1 << 30, [b"1" * size], 0)
    memory.write(1 << 30, [b"2" * 1000, memoryview(b"3" * (size - 1000))], size)
    assert memory.read((1 << 30) + 998, 4) == b"2233"
    assert memory.read((1 << 30) + size - 2, 4) == b"33\0\0"


def test_only_so_many_mappings_are_kept(memory, monkeypatch):
    monkeypatch.setattr("distpool.store.mappings._KEPT_MAPPINGS", 4)
    for number in range(20):
        memory.mappings.view(number * PAGE, PAGE, nothing)
    assert mappings_of_process() == 4
    memory.mappings.close()
    assert mappings_of_process() == 0


def test_without_another_mapping_it_is_a_copy(memory, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no more mappings")

    monkeypatch.setattr(memory.mappings, "view", refuse)
    ends = []
    view = memory.view(0, SIZE, lambda: ends.append(1), readonly=False)
    view[0] = ord("x")
    assert bytes(view) == b"x" + b"a" * (SIZE - 1)
    assert ends == [1]
    assert memory.view(0, SIZE, lambda: ends.append(1), readonly=True).readonly


def test_a_mapping_that_the_system_refuses_is_an_error():
    mappings = Mappings(0)
    with pytest.raises(OSError, match="bytes of the store cannot be mapped"):
        mappings.view(0, 1 << 62, nothing)
