"""No order of acts, refusals and attacks makes the books differ from the model's by a digit."""

from __future__ import annotations

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.ledger import runs, sizes

pytestmark = pytest.mark.django_db


@pytest.mark.timeout(900)
def test_no_order_of_acts_breaks_the_books() -> None:
    with runs.machines() as machine:
        run_state_machine_as_test(machine, settings=sizes.usual())


@pytest.mark.full
@pytest.mark.timeout(3_600)
def test_no_long_order_of_acts_breaks_the_books() -> None:
    with runs.machines() as machine:
        run_state_machine_as_test(machine, settings=sizes.sized(1_000, 80))
