"""What a head refuses, by the key that somebody has joined with."""

import time

import pytest

from distpool.config import SETTINGS
from distpool.errors import HeadUnreachable
from distpool.ids import NodeId
from distpool.protocol.messages import GroupGone, RegisterNode
from distpool.protocol.standing import StatusTold
from distpool.runtime.enrolling import enrol
from distpool.runtime.joining import ask, join
from distpool.transport.keys import Identity, KeyFolder, Part
from distpool.transport.tokens import make_token
from tests.runtime.heads import head as head


def test_a_node_cannot_have_calls_sent_to_somebody_else(head):
    identity = head.folder.identity(Part.NODE)
    for public in (Identity.make(Part.NODE).public, head.folder.identity(Part.DRIVER).public, ""):
        node = join(head.address, "node", identity, SETTINGS)
        registration = RegisterNode(NodeId("n"), 2, 0, "tcp://10.0.0.9:1", public)
        with pytest.raises(HeadUnreachable, match="a node is known by the key that it has joined with"):
            ask(node, registration, GroupGone, SETTINGS)
        node.leave()


@pytest.mark.parametrize(
    "endpoint",
    ["", "ipc:///tmp/some", "tcp://*:1", "tcp://a:b", "tcp://a:70000", "tcp://a", "tcp://a:1;tcp://b:1"],
)
def test_a_node_cannot_have_others_connect_to_anything_but_a_port(head, endpoint):
    identity = head.folder.identity(Part.NODE)
    node = join(head.address, "node", identity, SETTINGS)
    with pytest.raises(HeadUnreachable, match="a node listens at an address like tcp://host:port"):
        ask(node, RegisterNode(NodeId("n"), 2, 0, endpoint, identity.public), GroupGone, SETTINGS)
    node.leave()


def test_a_head_that_cannot_write_its_list_tells_others_no_more_than_that(head, tmp_path, caplog):
    token, _ = make_token(head.folder, Part.NODE, "gpu-1", 600)
    (head.folder.path / "head.key").chmod(0o644)
    with pytest.raises(HeadUnreachable, match="the head cannot let anybody in: look at what it has printed"):
        enrol(head.address, token, KeyFolder(tmp_path / "elsewhere"), SETTINGS)
    assert "a token lets nobody in: " in caplog.text
    assert "head.key holds secrets" in caplog.text


def test_who_is_revoked_is_cut_off_and_told_why(head):
    driver = join(head.address, "driver", head.folder.identity(Part.DRIVER), SETTINGS)
    head.folder.revoke("driver")
    with pytest.raises(HeadUnreachable, match="this process's key is not let in; compare the keys"):
        ask(driver, RegisterNode(NodeId("n"), 2), StatusTold, SETTINGS)
    driver.close()
    began_at = time.monotonic()
    with pytest.raises(HeadUnreachable, match="this process's key is not let in"):
        join(head.address, "driver", head.folder.identity(Part.DRIVER), SETTINGS)
    assert time.monotonic() - began_at < SETTINGS.connect_limit_s / 2
