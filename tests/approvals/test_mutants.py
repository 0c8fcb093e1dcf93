"""The list of seeded bugs stays true: each still fits the code, and what notices it is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.approvals.mutants import MUTANTS
from tests.ledger.seeded import Mutant

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_seeded_bug_fits_the_code(mutant: Mutant) -> None:
    assert mutant.before in mutant.source()
    assert mutant.before != mutant.after
    assert all((ROOT / file).is_file() for file in mutant.tests)


def test_there_are_many_seeded_bugs_of_sql_and_of_python() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 12
    assert {mutant.is_sql for mutant in MUTANTS} == {True, False}
