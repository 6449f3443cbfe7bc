"""How many connections a key is taken to have, whatever it does with them."""

from distpool.transport.admissions import SPEAK_WITHIN_S, Admissions


def test_a_key_has_the_connections_that_speak_with_it_until_they_end():
    admissions = Admissions()
    for connection, key in ((1, "a"), (2, "a"), (3, "b")):
        admissions.accepted(connection, 0.0)
        admissions.let_in(key, 0.0)
        assert admissions.count(key, 0.0) == {1: 1, 2: 2, 3: 1}[connection]
        for _ in range(2):
            admissions.spoke(connection, key)
    assert (admissions.count("a", 0.0), admissions.count("b", 0.0)) == (2, 1)
    for _ in range(2):
        admissions.ended(2)
    assert (admissions.count("a", 99.0), admissions.count("b", 99.0)) == (1, 1)
    assert admissions.remove_silent(99.0) == []


def test_who_says_nothing_is_counted_for_a_while_and_then_ended():
    admissions = Admissions()
    for connection in (1, 2, 3):
        admissions.accepted(connection, float(connection))
        admissions.let_in("a", float(connection))
    assert admissions.count("a", 3.0) == 3
    admissions.spoke(2, "a")
    assert admissions.count("a", SPEAK_WITHIN_S + 1.5) == 3, "which of the three has spoken is not known by the key"
    assert admissions.count("a", SPEAK_WITHIN_S + 2.5) == 2
    assert admissions.count("a", SPEAK_WITHIN_S + 3.5) == 1
    assert admissions.remove_silent(SPEAK_WITHIN_S + 1.0) == []
    assert admissions.remove_silent(SPEAK_WITHIN_S + 1.5) == [1]
    assert admissions.remove_silent(SPEAK_WITHIN_S + 3.5) == [3]
    assert admissions.remove_silent(SPEAK_WITHIN_S + 99.0) == []


def test_what_was_sent_by_a_connection_that_has_ended_does_not_bring_it_back():
    admissions = Admissions()
    admissions.accepted(7, 0.0)
    admissions.let_in("a", 0.0)
    admissions.ended(7)
    admissions.spoke(7, "a")
    assert admissions.count("a", SPEAK_WITHIN_S + 1.0) == 0
    admissions.accepted(7, 20.0)
    admissions.let_in("b", 20.0)
    admissions.spoke(7, "b")
    assert (admissions.count("a", 20.0), admissions.count("b", 20.0)) == (0, 1)
    admissions.ended(7)
    assert admissions.count("b", 20.0) == 0
