"""The list of crash points names tests that exist, and leaves out no point."""

import re
from pathlib import Path

import pytest

from .points import PROOFS

TESTS = Path(__file__).resolve().parents[1]
NOT_ON_ONE_MACHINE = {"D2"}


@pytest.mark.parametrize("point", PROOFS)
def test_each_crash_point_is_proven_by_tests_that_exist(point):
    assert PROOFS[point]
    for proof in PROOFS[point]:
        file, name = proof.split("::")
        assert re.search(rf"^def {name}\(", (TESTS / file).read_text(), re.MULTILINE), proof


def test_no_crash_point_is_left_out():
    rows = {point.split()[0] for point in PROOFS}
    assert rows == {f"A{number}" for number in range(1, 26)} | {f"D{number}" for number in range(1, 5)} - (
        NOT_ON_ONE_MACHINE
    )
