"""What others have named or said, as people get to read it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distpool.logic.shown import LINE_LIMIT, LINES_LIMIT, shown, shown_lines


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("gpu-1", "gpu-1"),
        ("größer 漢字", "größer 漢字"),
        ("", ""),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("one\r\ntwo\ttabs", "one\\r\\ntwo\\ttabs"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202egpj.exe\u2066", "a\\u202egpj.exe\\u2066"),
        ("\u2028\u2029\u200b\ufeff", "\\u2028\\u2029\\u200b\\ufeff"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text, seen):
    assert shown(text) == seen


@given(text=st.text())
def test_it_is_one_line_that_can_be_printed_whatever_comes(text):
    assert shown(text).isprintable()
    shown(text).encode()


def test_long_texts_are_cut_off():
    assert shown("x" * LINE_LIMIT) == "x" * LINE_LIMIT
    assert shown("x" * 10**6) == "x" * LINE_LIMIT + "…"
    assert shown_lines("\n".join(["x" * 10**5] * 100)).split("\n") == ["x" * LINE_LIMIT + "…"] * LINES_LIMIT


def test_lines_stay_where_they_are_meant():
    assert shown_lines("a table\n  of \x1bversions") == "a table\n  of \\x1bversions"
