"""A head in a thread, for tests of what it says to those who connect."""

import threading
import time

import pytest

from distpool.config import SETTINGS
from distpool.runtime.head_keys import HeadKeys
from distpool.runtime.hosting import HeadHost
from distpool.transport.keys import KeyFolder, Part
from distpool.transport.sockets import Listener


class ServedHead:
    """A head in a thread of this process, which hears TCP with the keys of a folder."""

    def __init__(self, folder, endpoint="tcp://127.0.0.1:0"):
        self.folder = folder
        self._listener = Listener(endpoint, folder.identity(Part.HEAD), folder.allow_list().find)
        self.address = self._listener.endpoint
        self.host = HeadHost(self._listener, SETTINGS, time.monotonic(), HeadKeys(folder))
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        while not self._is_over.wait(0.002):
            self.host.turn(time.monotonic())

    def end(self):
        if not self._is_over.is_set():
            self._is_over.set()
            self._thread.join()
            self._listener.close()


@pytest.fixture
def head(tmp_path):
    """A head with a folder of its own."""
    folder = KeyFolder(tmp_path / "keys")
    folder.make_missing()
    served = ServedHead(folder)
    yield served
    served.end()
