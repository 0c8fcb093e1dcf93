"""No order of acts, refusals and attacks breaks an approval."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.approvals.machine import Approvals

pytestmark = pytest.mark.django_db

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@pytest.mark.timeout(300)
def test_no_order_of_acts_breaks_an_approval() -> None:
    run_state_machine_as_test(
        Approvals,
        settings=settings(
            max_examples=12,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=SLOW,
            derandomize=True,
        ),
    )


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_no_long_order_of_acts_breaks_an_approval() -> None:
    run_state_machine_as_test(
        Approvals,
        settings=settings(
            max_examples=120, stateful_step_count=60, deadline=None, suppress_health_check=SLOW
        ),
    )
