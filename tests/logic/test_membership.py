"""Who may join a cluster, and who is there."""

from distpool.logic.membership import Membership, Versions
from distpool.protocol.cluster import Greeting

OURS = Versions(1, "3.11", "0.1.0")


def greeting(protocol=1, python="3.11", version="0.1.0", life=5):
    return Greeting("gpu-1", life, protocol, python, version)


def test_who_has_the_same_protocol_and_python_joins_whatever_its_version_of_distpool():
    members = Membership(OURS)
    assert members.greet("a", greeting(version="0.2.0"), 3.0) == ""
    assert members.find("a") == ("gpu-1", 5, 3.0)
    assert len(members) == 1


def test_a_refusal_is_a_table_of_who_has_what():
    members = Membership(OURS)
    for other in (greeting(protocol=2), greeting(python="3.12")):
        assert "must be the same" in members.greet("a", other, 3.0)
    assert members.greet("a", greeting(2, "3.12", "0.10.0"), 3.0).splitlines()[1:] == [
        "          head   gpu-1",
        "protocol  1      2",
        "Python    3.11   3.12",
        "distpool  0.1.0  0.10.0",
    ]
    assert len(members) == 0


def test_names_and_versions_of_others_do_not_reach_a_terminal_as_they_are():
    members = Membership(OURS)
    members.greet("a", Greeting("\x1b[2J" + "x" * 9999, 5, 1, "3.11", "0.1.0"), 3.0)
    assert members.find("a").name == "\\x1b[2J" + "x" * 196 + "…"
    refusal = members.greet("b", Greeting("b\r", 6, 1, "3.\x07", "0\n"), 3.0)
    assert refusal.replace("\n", "").isprintable()
    assert len(refusal.splitlines()) == 5


def test_a_process_that_comes_back_by_a_new_link_is_known_by_its_life():
    members = Membership(OURS)
    members.greet("old", greeting(life=5), 1.0)
    members.greet("other", greeting(life=6), 2.0)
    members.greet("new", greeting(life=5), 3.0)
    assert members.links_of(5) == ["old", "new"]
    assert members.remove("old") == ("gpu-1", 5, 1.0)
    assert members.remove("old") is None
    assert members.links_of(5) == ["new"]
