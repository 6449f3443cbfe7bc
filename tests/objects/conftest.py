import os

import pytest

import distpool
from distpool.ids import StoreId
from distpool.objects import stores
from distpool.objects.home import Home

MIB = 1 << 20


@pytest.fixture
def home(tmp_path, monkeypatch):
    """This process's store, of 64 MiB, for one test."""
    before = list(stores._home)
    descriptor = os.memfd_create("distpool-store-of-a-test")
    os.ftruncate(descriptor, 1 << 50)
    store = Home(StoreId(12345), descriptor, 64 * MIB, str(tmp_path))
    stores._home[:] = [store]
    yield store
    stores._home[:] = before
    assert store.stats().objects == 0
    store.close()


@pytest.fixture(params=["fork", "spawn"])
def pool(request):
    with distpool.get_context(request.param).Pool(2) as pool:
        yield pool
