"""The list of seeded bugs stays true: each still fits the code, and the machine notices a few at once."""

from __future__ import annotations

import pytest
from django.db import connection
from hypothesis.stateful import run_state_machine_as_test

from tests.ledger import runs, sizes
from tests.ledger.mutants import MUTANTS
from tests.ledger.seeded import Mutant, seeded

FEW = (
    "settling frees the hold twice",
    "a cancelled call costs nothing",
    "all that a batch asks for is taken to fit",
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_seeded_bug_fits_the_code(mutant: Mutant) -> None:
    assert mutant.before in mutant.source()
    assert mutant.before != mutant.after


def test_there_are_many_seeded_bugs_of_sql_and_of_python() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 14
    assert {mutant.is_sql for mutant in MUTANTS} == {True, False}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "mutant", [mutant for mutant in MUTANTS if mutant.is_sql], ids=lambda mutant: mutant.name
)
def test_a_seeded_bug_is_in_the_database_and_out_again(mutant: Mutant) -> None:
    before = definitions()
    with seeded(mutant):
        assert definitions() != before
    assert definitions() == before


@pytest.mark.django_db
@pytest.mark.parametrize("name", FEW)
def test_the_machine_notices_a_seeded_bug(name: str) -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == name)
    with seeded(mutant), runs.machines() as machine, pytest.raises(Exception, match=r".") as noticed:
        run_state_machine_as_test(
            machine, settings=sizes.sized(60, 40, derandomize=True, **sizes.WHILE_SEEDED)
        )
    assert isinstance(noticed.value, AssertionError | KeyError)


def definitions() -> list[tuple[str]]:
    """Return the text of every function of the engine."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT prosrc FROM pg_proc WHERE proname ~ '^(gateway|usage|catalog|budgets)_' ORDER BY oid"
        )
        found: list[tuple[str]] = cursor.fetchall()
    return found
