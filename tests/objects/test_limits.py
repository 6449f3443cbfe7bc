"""A store that is full: warm memory goes first, then the least recently used objects go to disk, then it says so."""

import errno
import os

import msgspec
import numpy as np
import pytest

import distpool
from distpool.config import SETTINGS
from distpool.objects import limits, stores

MIB = 1 << 20


def filled(mib, value=0.0):
    return np.full(mib * MIB // 8, value)


def pages_of(home):
    """Bytes of memory that the store really takes."""
    return os.fstat(home.memory.descriptor).st_blocks * 512


def test_memory_of_freed_objects_is_reused(home):
    ref = distpool.put(filled(10))
    place = ref.offset
    del ref
    assert home.stats().warm_bytes == pages_of(home)
    again = distpool.put(filled(10, 1.0))
    assert again.offset == place
    assert distpool.get(again)[-1] == 1.0
    assert home.stats().warm_bytes == 0


def test_memory_is_not_reused_while_a_value_lies_in_it(home):
    value = distpool.get(distpool.put(filled(10)))
    other = distpool.put(filled(10, 1.0))
    assert value.sum() == 0
    assert distpool.get(other)[0] == 1.0
    del value, other


def test_no_more_is_kept_warm_than_the_limit_allows(home):
    refs = [distpool.put(filled(10)) for _ in range(6)]
    del refs
    assert home.stats().warm_bytes <= 16 * MIB
    assert pages_of(home) <= 16 * MIB


def test_nothing_is_kept_warm_when_the_machines_memory_is_short(home, monkeypatch):
    ref = distpool.put(filled(10))
    monkeypatch.setattr("distpool.objects.limits.SETTINGS", msgspec.structs.replace(SETTINGS, short_share=1.0))
    del ref
    assert pages_of(home) == 0


def test_cooling_gives_everything_back(home):
    del (ref := [distpool.put(filled(10))])[0]
    assert ref == []
    assert home.cool_at() is not None
    home.cool()
    assert pages_of(home) == 0
    assert home.cool_at() is None


def test_what_does_not_fit_goes_to_disk_the_least_recently_used_first(home, tmp_path):
    refs = [distpool.put(filled(16, float(number))) for number in range(3)]
    assert distpool.get(refs[0])[0] == 0.0
    refs.append(distpool.put(filled(16, 3.0)))
    stats = home.stats()
    assert (stats.objects, stats.spilled_objects) == (4, 1)
    assert pages_of(home) <= 64 * MIB
    assert home._shelf._stock.find(refs[1].id).is_spilled
    assert os.listdir(tmp_path) == []  # the file has no name
    # Read back, whole, and another one goes.
    assert (distpool.get(refs[1]) == 1.0).all()
    assert home.stats().spilled_objects == 1
    assert [distpool.get(ref)[-1] for ref in refs] == [0.0, 1.0, 2.0, 3.0]
    del refs
    assert home.stats().spilled_bytes == 0


def test_the_disk_is_given_back(home):
    refs = [distpool.put(filled(16)) for _ in range(12)]
    file = home._shelf._spill._file
    assert os.fstat(file.descriptor).st_blocks * 512 >= 8 * 16 * MIB
    del refs[:6]
    assert os.fstat(file.descriptor).st_blocks * 512 <= 7 * 16 * MIB
    del refs
    with pytest.raises(OSError, match="Bad file descriptor"):  # the file is closed, and so is gone
        os.fstat(file.descriptor)
    refs = [distpool.put(filled(16, float(number))) for number in range(12)]
    assert [distpool.get(ref)[0] for ref in refs] == list(range(12))


def test_values_and_calls_keep_objects_in_memory(home):
    refs = [distpool.put(filled(16, float(number))) for number in range(3)]
    values = distpool.get(refs, readonly=True)
    with pytest.raises(distpool.StoreFull) as raised:
        distpool.put(filled(20))
    text = str(raised.value)
    assert "no room for 20.0 MiB: of its 64.0 MiB of memory 48.0 MiB are in use" in text
    assert f"object {refs[0].id}: 16.0 MiB in memory, held by " in text
    assert "a value that lies in it" in text
    assert "DISTPOOL_STORE_SIZE" in text
    # Nothing was lost.
    assert [value[0] for value in values] == [0.0, 1.0, 2.0]
    del values
    assert distpool.get(distpool.put(filled(20, 5.0)))[0] == 5.0
    del refs, raised  # a traceback refers to the frame of this test


def test_what_is_larger_than_the_store_is_refused_without_putting_others_on_disk(home):
    ref = distpool.put(filled(16))
    with pytest.raises(distpool.StoreFull, match=r"no room for 65.0 MiB"):
        distpool.put(filled(65))
    assert home.stats().spilled_objects == 0
    del ref


def test_a_value_on_disk_that_has_no_room_is_read_into_own_memory(home):
    refs = [distpool.put(filled(16, float(number))) for number in range(5)]
    shared = distpool.get(refs[:3], readonly=True)
    values = [distpool.get(ref) for ref in refs]
    assert [value.sum() for value in values] == [value[0] * len(value) for value in values]
    assert [value[0] for value in values] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert all(value.flags.writeable for value in values)
    del values, shared


def test_values_get_memory_of_their_own_when_the_store_needs_theirs(home):
    values = [distpool.get(distpool.put(filled(16, float(number)))) for number in range(3)]
    values[0][::1000] = 7.0
    ref = distpool.put(filled(50, 9.0))
    assert home.stats().objects == 1
    assert [value[1] for value in values] == [0.0, 1.0, 2.0]
    assert values[0][1000] == 7.0
    values[1][:] = 5.0
    assert (distpool.get(ref) == 9.0).all()
    assert [value.sum() for value in values[1:]] == [5.0 * 2 * MIB, 2.0 * 2 * MIB]
    del ref
    del values
    assert home.stats().objects == 0
    # The mapping that was kept shows what lies there now.
    again = [distpool.get(distpool.put(filled(16, 3.0))) for _ in range(3)]
    assert all((value == 3.0).all() for value in again)


def test_a_full_disk_is_an_error_at_the_call_and_nothing_is_lost(home, monkeypatch):
    refs = [distpool.put(filled(16, float(number))) for number in range(3)]

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("distpool.store.spill.write_all", full)
        with pytest.raises(distpool.StoreFull, match=r"Writing to the spill folder failed: .*No space left"):
            distpool.put(filled(20))
    assert [distpool.get(ref)[0] for ref in refs] == [0.0, 1.0, 2.0]
    assert distpool.get(distpool.put(filled(20, 7.0)))[0] == 7.0


def test_a_full_machine_is_an_error_at_the_call_and_nothing_is_lost(home, monkeypatch):
    ref = distpool.put(filled(16, 4.0))

    def full(*_):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr("distpool.store.memory.write_all", full)
        with pytest.raises(distpool.StoreFull, match=r"the system has no memory for the store: .*Cannot allocate"):
            distpool.put(filled(17))
    assert home.stats().objects == 1
    assert distpool.get(distpool.put(filled(17, 8.0))).sum() == 8.0 * 17 * MIB / 8
    assert distpool.get(ref)[0] == 4.0


def test_what_was_damaged_on_disk_is_lost_and_says_so(home):
    refs = [distpool.put(filled(16, float(number))) for number in range(5)]
    stored = home._shelf._stock.find(refs[0].id)
    assert stored.is_spilled
    place = home._shelf._spill._places[stored.extent.offset]
    os.pwrite(place.file.descriptor, b"!", place.at + 100_000)
    for _ in range(2):
        with pytest.raises(distpool.ObjectLost, match=rf"object {refs[0].id} of process .* was damaged on disk"):
            distpool.get(refs[0])
    assert distpool.get(refs[1])[0] == 1.0


# Settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "size"),
    [
        (5 << 20, 5 << 20),
        ("5242880", 5 << 20),
        ("512MiB", 512 << 20),
        ("4GB", 4 * 10**9),
        ("1.5 GiB", 3 << 29),
        ("2g", 2 << 30),
        (" 1TB ", 10**12),
    ],
)
def test_sizes_that_are_understood(setting, size):
    assert limits.store_size(setting) == size


def test_a_share_of_the_memory():
    assert limits.store_size("50%") == int(limits.memory_bytes() * 0.5)
    assert limits.store_size(None) == int(limits.memory_bytes() * 0.4)


@pytest.mark.parametrize("setting", ["much", "", "-5", "5 apples", "0%", "101%", "1e9", 17, "3KB"])
def test_a_size_that_makes_no_sense_is_named_with_the_accepted_forms(setting, monkeypatch):
    with pytest.raises(ValueError, match=r"the store's size is .*'512MiB', '4GB', '1.5GiB', or a share .* '30%'"):
        limits.store_size(setting)
    monkeypatch.setenv("DISTPOOL_STORE_SIZE", str(setting))
    with pytest.raises(ValueError, match="the environment variable DISTPOOL_STORE_SIZE is "):
        limits.store_size(None)


def test_a_size_of_the_wrong_type_is_named():
    with pytest.raises(TypeError, match=r"the store's size is 2.5, a float; it must be a number of bytes"):
        limits.store_size(2.5)


def test_a_spill_folder_must_be_there(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="the spill folder is '/nowhere'; it must be a folder that exists"):
        limits.spill_folder("/nowhere")
    monkeypatch.setenv("DISTPOOL_SPILL_FOLDER", str(tmp_path))
    assert limits.spill_folder(None) == str(tmp_path)


def test_a_store_in_use_cannot_be_configured(home):
    with pytest.raises(RuntimeError, match="the store is in use already"):
        distpool.configure_store(size="1GiB")
    assert stores._options == {}


def test_the_limit_of_a_control_group_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(limits, "memory_groups", lambda: [(tmp_path, 2, 1 << 30), (tmp_path, 2, 512 << 20)])
    assert limits.memory_bytes() == 512 << 20
