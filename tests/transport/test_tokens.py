"""Tokens: texts that are whole or refused, kept at the head as what nobody can join with, used up in one write."""

import os
import pickle
import time
import traceback

import pytest

from distpool.errors import UnusableKey
from distpool.transport.keys import ALLOWED, Identity, KeyFolder, Part, read_identity
from distpool.transport.tokens import LONGEST_S, Token, begin_joining, end_joining, make_token, redeem


@pytest.fixture
def folder(tmp_path):
    folder = KeyFolder(tmp_path / "keys")
    folder.make_missing()
    return folder


@pytest.fixture
def elsewhere(tmp_path):
    return KeyFolder(tmp_path / "elsewhere")


def expired(folder, monkeypatch):
    """A token whose time is over."""
    token, _ = make_token(folder, Part.NODE, "late", 60)
    monkeypatch.setattr(time, "time", lambda: token.until + 0.5)
    return token


def test_a_token_is_one_word_that_comes_back_whole(folder):
    token, name = make_token(folder, Part.DRIVER, None, 600)
    text = token.text()
    assert not set(text) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
    again = Token.parse(f"{text}\n", "a file")
    assert (name, again.until, again.identity.part) == ("driver-2", token.until, Part.DRIVER)
    assert again.identity.public == token.identity.public
    assert again.identity.secret() == token.identity.secret()
    assert again.identity.head == folder.identity(Part.HEAD).public


def test_a_token_that_is_damaged_is_an_error_that_does_not_show_it(folder):
    text = make_token(folder, Part.NODE, "gpu-1", 600)[0].text()
    damaged = [text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :] for at in range(len(text) - 1)]
    for wrong in (*damaged, "", text[:-1], text + "A", text.replace("node", "driver"), f"{text} {text}"):
        with pytest.raises(UnusableKey) as caught:
            Token.parse(wrong, "beta.token")
        assert str(caught.value).startswith("beta.token holds no token, or not all of one")
        assert text[20:40] not in "".join(traceback.format_exception(caught.value))


def test_the_head_keeps_nothing_that_somebody_could_join_with(folder):
    token, _ = make_token(folder, Part.NODE, "gpu-1", 600)
    kept = "".join(path.read_text() for path in folder.path.iterdir())
    assert token.identity.public in kept
    for secret in (token.text(), token.text()[-60:-30], token.identity.secret().decode()):
        assert secret not in kept
    assert token.identity.secret().decode() not in repr(token)
    with pytest.raises(TypeError, match="must not travel"):
        pickle.dumps(token)


def test_a_token_is_found_until_it_expires_and_is_no_member(folder, monkeypatch):
    token, _ = make_token(folder, Part.NODE, "gpu-1", 600)
    allowed = folder.allow_list()
    assert allowed.find(token.identity.public) == (token.identity.public, Part.NODE, "gpu-1", token.until)
    assert token.identity.public not in {member.public for member in allowed.members()}
    monkeypatch.setattr(time, "time", lambda: float(token.until))
    assert allowed.find(token.identity.public) is None
    assert len(allowed.entries()) == 2


def test_a_member_takes_the_place_of_the_token_once(folder):
    token, _ = make_token(folder, Part.NODE, "gpu-1", 600)
    first, second = (Identity.make(Part.NODE).public for _ in range(2))
    allowed = folder.allow_list()
    assert redeem(folder, token.identity.public, first) == (first, Part.NODE, "gpu-1", None)
    assert allowed.find(first) == (first, Part.NODE, "gpu-1", None)
    assert allowed.find(token.identity.public) is None
    with pytest.raises(ValueError, match="this token was used, has expired, or was revoked"):
        redeem(folder, token.identity.public, second)
    assert allowed.find(second) is None


def test_a_token_that_has_expired_or_was_revoked_lets_nobody_in(folder, monkeypatch):
    revoked, _ = make_token(folder, Part.NODE, "gpu-1", 600)
    assert folder.revoke("gpu-1").public == revoked.identity.public
    late = expired(folder, monkeypatch)
    for token in (revoked, late, Token(Identity.make(Part.NODE), late.until)):
        with pytest.raises(ValueError, match="this token was used"):
            redeem(folder, token.identity.public, Identity.make(Part.NODE).public)
    assert len(folder.allow_list().entries()) == 2


def test_a_key_that_is_known_is_not_let_in_a_second_time(folder):
    token, _ = make_token(folder, Part.NODE, "gpu-1", 600)
    before = (folder.path / ALLOWED).read_bytes()
    for part in Part:
        with pytest.raises(ValueError, match="this key is known already"):
            redeem(folder, token.identity.public, folder.identity(part).public)
    assert (folder.path / ALLOWED).read_bytes() == before


def test_names_and_times_out_of_bounds_are_refused(folder):
    make_token(folder, Part.NODE, "gpu-1", 600)
    for name in ("gpu-1", "node", "two words"):
        with pytest.raises(ValueError, match=r"of the name .* already|must have 1 to 64 letters"):
            make_token(folder, Part.NODE, name, 600)
    for valid_s in (0, -1, LONGEST_S + 1, float("nan")):
        with pytest.raises(ValueError, match="a token can be valid for 1 to 604800 seconds"):
            make_token(folder, Part.NODE, "gpu-2", valid_s)
    with pytest.raises(ValueError, match="not for a head"):
        make_token(folder, Part.HEAD, None, 600)
    assert [make_token(folder, Part.NODE, None, 600)[1] for _ in range(2)] == ["node-2", "node-3"]


def test_the_holder_makes_one_pair_and_goes_on_with_it_when_it_was_cut_off(folder, elsewhere):
    token, _ = make_token(folder, Part.NODE, "gpu-1", 600)
    begun = begin_joining(elsewhere, token)
    assert begin_joining(elsewhere, token).public == begun.public
    assert not elsewhere.path_of(Part.NODE).exists()
    for _ in range(2):  # by two processes
        end_joining(elsewhere, begun)
    assert read_identity(elsewhere.path_of(Part.NODE)).public == begun.public
    assert all(path.stat().st_mode & 0o077 == 0 for path in elsewhere.path.iterdir())
    other = begin_joining(elsewhere, token)
    with pytest.raises(FileExistsError, match=r"node\.key was made meanwhile, with another key"):
        end_joining(elsewhere, other)
    assert read_identity(elsewhere.path_of(Part.NODE)).public == begun.public


def test_a_pair_that_was_made_for_another_head_is_not_gone_on_with(folder, elsewhere, tmp_path):
    other = KeyFolder(tmp_path / "other")
    other.make_missing()
    for_other = begin_joining(elsewhere, make_token(other, Part.NODE, "gpu-1", 600)[0])
    token, _ = make_token(folder, Part.NODE, "gpu-1", 600)
    assert begin_joining(elsewhere, token).public != for_other.public
    assert os.listdir(elsewhere.path).count("node.key.joining") == 1
