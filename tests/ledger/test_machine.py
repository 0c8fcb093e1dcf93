"""No order of acts, refusals and attacks makes the books differ from the model's by a digit."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.ledger.clockwork import moved_clock
from tests.ledger.machine import Ledger
from tests.ledger.world import START, World, build_world

pytestmark = pytest.mark.django_db

# Hypothesis calls it as it would call the class.
MakeMachine = Any


@pytest.fixture
def machine(db: None) -> Iterator[MakeMachine]:
    """Return what makes a machine on a fresh copy of one organisation."""
    with moved_clock(START):
        built = build_world()

        def fresh() -> World:
            return replace(built, books=copy.deepcopy(built.books))

        yield lambda: Ledger(fresh)


@pytest.mark.timeout(900)
def test_no_order_of_acts_breaks_the_books(machine: MakeMachine) -> None:
    run_state_machine_as_test(machine, settings=sized(200, 40, derandomize=True))


@pytest.mark.full
@pytest.mark.timeout(3_600)
def test_no_long_order_of_acts_breaks_the_books(machine: MakeMachine) -> None:
    run_state_machine_as_test(machine, settings=sized(1_000, 80))


def sized(examples: int, steps: int, **more: Any) -> settings:
    """Return the settings of a run of so many examples of so many steps."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        **more,
    )
