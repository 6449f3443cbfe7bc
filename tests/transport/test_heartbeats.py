"""A connection that stands still is given up at both ends, and there is a new one as soon as something passes again."""

import time

from distpool.transport.keys import KeyFolder, Part
from distpool.transport.sockets import Connection, Listener
from tests.cluster.proxy import proxy
from tests.runtime.programs import until

GIVEN_UP_WITHIN_S = 4.0


def test_both_ends_give_up_a_connection_that_stands_still_and_there_is_a_new_one_soon_after(tmp_path):
    folder = KeyFolder(tmp_path / "keys")
    folder.make_missing()
    identity = folder.identity(Part.NODE)
    listener = Listener("tcp://127.0.0.1:0", folder.identity(Part.HEAD), folder.allow_list().find)
    with proxy(listener.endpoint) as network:
        connection = Connection(network.address, b"me", identity, identity.head)
        ended = []

        def is_connected():
            listener.receive()  # the doorman answers in it
            ended.extend(listener.broken())
            connection.has_reconnected()
            return connection.is_connected

        assert until(is_connected)
        network.stall()
        stalled_at = time.monotonic()
        assert until(lambda: not is_connected() and connection.is_broken() and ended, GIVEN_UP_WITHIN_S)
        assert time.monotonic() - stalled_at > 1.0, "it ended for another reason"
        network.flow()
        assert until(is_connected)
        connection.close()
    listener.close()
