"""When a silent peer is gone for good."""

from distpool.logic.silence import Silence


def test_a_peer_that_is_silent_for_too_long_is_gone_until_it_is_heard_of():
    silence = Silence(60.0, 0.5)
    assert not silence.is_for_good(100.0, 160.0)
    assert not silence.is_for_good(100.0, 160.1)
    assert silence.is_for_good(100.0, 160.7)
    assert not silence.is_for_good(160.8, 160.9)


def test_whoever_slept_for_longer_looks_once_more_before_it_gives_up():
    silence = Silence(60.0, 0.5)
    assert not silence.is_for_good(100.0, 100.2)
    assert not silence.is_for_good(100.0, 5000.0)
    assert not silence.is_for_good(5000.1, 5000.2)
    assert not silence.is_for_good(5000.1, 5060.2)
