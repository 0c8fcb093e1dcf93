"""No order of acts, refusals and attacks breaks an approval."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis.stateful import run_state_machine_as_test

from approvals.models import AccessRequest, Verdict
from tests.approvals.machine import Approvals
from tests.ledger import sizes

pytestmark = pytest.mark.django_db

ROLE_OF_TWO = [("lead", 2)]


@pytest.fixture
def begun() -> Iterator[Approvals]:
    """Return a machine in which Ada's request waits for two of its leads, Ben and Ann."""
    machine = Approvals()
    machine.begin(stages=ROLE_OF_TWO, askers={"ada"})
    yield machine
    machine.teardown()


def newest(machine: Approvals) -> AccessRequest:
    request = machine.request(0)
    assert request is not None
    return request


def test_the_machine_lets_no_delegate_decide_for_whom_counts_already(begun: Approvals) -> None:
    begun.decides(name="ben", number=0, verdict=Verdict.APPROVE, behind=0, cap=0)
    begun.lends(giver="ben", taker="cleo", role="lead", days=1)

    assert begun.allowed(newest(begun)) == {"ann"}
    begun.opens_the_page(number=0, name="cleo")  # and the product says the same
    begun.lends(giver="ann", taker="cleo", role="lead", days=1)
    assert begun.allowed(newest(begun)) == {"ann", "cleo"}
    begun.decides(name="cleo", number=0, verdict=Verdict.APPROVE, behind=0, cap=0)
    assert newest(begun).status == "approved"


def test_the_machine_lets_nobody_deny_as_somebody_who_was_told_once_he_counts(begun: Approvals) -> None:
    begun.new_policy(ROLE_OF_TWO, told_role="lead", told_may_veto=True)
    begun.asks(name="cleo", tier=2, days=30, usd=100)
    assert begun.vetoers(newest(begun)) == {"ben", "ann"}
    begun.decides(name="ben", number=0, verdict=Verdict.APPROVE, behind=0, cap=0)

    assert begun.vetoers(newest(begun)) == {"ann"}


@pytest.mark.timeout(300)
def test_no_order_of_acts_breaks_an_approval() -> None:
    usual = sizes.usual() if sizes.seeded_sizes else sizes.sized(10, 25, derandomize=True)
    run_state_machine_as_test(Approvals, settings=usual)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_no_long_order_of_acts_breaks_an_approval() -> None:
    run_state_machine_as_test(Approvals, settings=sizes.sized(120, 60))
