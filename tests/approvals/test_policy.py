"""The rules as arithmetic, without a database."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals import policy
from approvals.policy import Offer, StageTerms
from teams.models import Role

ADA, BEN, BOB, CLEO, COCO, ANN, ABE = range(1, 8)


def people(
    *, lead: Iterable[int] = (), director: Iterable[int] = (), admin: Iterable[int] = ()
) -> policy.Holders:
    return {"lead": frozenset(lead), "director": frozenset(director), "admin": frozenset(admin)}


def stage(role: str, quorum: int = 1, max_days: int = 90) -> StageTerms:
    return StageTerms(role=role, quorum=quorum, max_days=max_days)


USUAL = people(lead={BEN}, director={CLEO}, admin={ANN})


def test_the_words_for_roles_are_those_of_the_organisation() -> None:
    assert (policy.LEAD, policy.DIRECTOR, policy.ADMIN) == (Role.LEAD, Role.DIRECTOR, Role.ADMIN)


@pytest.mark.parametrize(
    ("role", "holders", "asker", "decides"),
    [
        ("lead", USUAL, ADA, "lead"),
        ("lead", USUAL, BEN, "director"),
        ("lead", people(lead={BEN, BOB}, director={CLEO}), BEN, "director"),
        ("lead", people(lead={CLEO}, director={CLEO}, admin={ANN}), CLEO, "admin"),
        ("director", USUAL, CLEO, "admin"),
        ("director", people(director={CLEO, COCO}), CLEO, "director"),
        ("director", USUAL, BEN, "director"),
        ("admin", USUAL, ANN, "admin"),
    ],
)
def test_an_own_request_goes_to_the_next_role(
    role: str, holders: policy.Holders, asker: int, decides: str
) -> None:
    assert policy.routed_role(role, holders, [asker]) == decides


@pytest.mark.parametrize(
    ("role", "holders", "asker", "who"),
    [
        ("lead", USUAL, ADA, {BEN}),
        ("lead", USUAL, BEN, {CLEO}),
        ("director", USUAL, CLEO, {ANN}),
        ("director", people(director={CLEO, COCO}, admin={ANN}), CLEO, {COCO}),
        ("admin", people(admin={ANN}), ANN, set()),
        ("lead", people(), ADA, set()),
        ("finance", USUAL, ADA, set()),
    ],
)
def test_who_may_decide(role: str, holders: policy.Holders, asker: int, who: set[int]) -> None:
    assert policy.may_decide(role, holders, [asker]) == who


def test_nobody_who_counts_already_may_decide_again() -> None:
    holders = people(lead={BEN, BOB})
    assert policy.may_decide("lead", holders, [ADA], counted=[BEN]) == {BOB}


ids = st.frozensets(st.integers(1, 7), max_size=4)
some = st.frozensets(st.integers(1, 7), min_size=1, max_size=4)


@given(lead=ids, director=ids, admin=ids, askers=some, role=st.sampled_from(["lead", "director"]))
def test_no_asker_ever_decides(
    lead: frozenset[int], director: frozenset[int], admin: frozenset[int], askers: frozenset[int], role: str
) -> None:
    holders = {"lead": lead, "director": director, "admin": admin}
    assert not policy.may_decide(role, holders, askers) & askers


def test_stages_are_routed_and_each_role_stands_once() -> None:
    terms = [stage("lead"), stage("director", quorum=2)]
    assert policy.stages_for(terms, USUAL, [ADA]) == terms
    assert policy.stages_for(terms, USUAL, [BEN]) == [stage("director", quorum=2)]


@pytest.mark.parametrize(
    ("stages", "holders", "asker", "missing"),
    [
        ([stage("lead")], USUAL, ADA, None),
        ([stage("lead")], people(director={CLEO}), ADA, "lead"),
        ([stage("director")], people(lead={BEN}), ADA, "director"),
        ([stage("director")], people(director={CLEO}), CLEO, "admin"),
        ([stage("lead", quorum=2)], USUAL, ADA, "lead"),
        ([stage("lead", quorum=2)], people(lead={BEN, BOB}), ADA, None),
        ([stage("lead"), stage("director")], USUAL, ADA, None),
        ([stage("lead"), stage("director")], people(lead={CLEO}, director={CLEO}), ADA, "director"),
        ([stage("lead"), stage("director")], people(lead={CLEO, BEN}, director={CLEO}), ADA, None),
    ],
)
def test_a_request_that_distinct_humans_cannot_pass_names_the_missing_role(
    stages: list[StageTerms], holders: policy.Holders, asker: int, missing: str | None
) -> None:
    assert policy.missing_role(stages, holders, [asker]) == missing


@pytest.mark.parametrize(
    ("asked", "offers", "pinned", "current", "days"),
    [
        (60, [], [90], 90, 60),
        (60, [Offer(duration_days=30)], [90], 90, 30),
        (60, [Offer(duration_days=30), Offer(duration_days=7), Offer()], [90], 90, 7),
        (60, [], [45], 90, 45),
        (60, [], [90], 14, 14),
        (60, [], [90], None, 60),
    ],
)
def test_days_are_the_least_of_asked_offered_pinned_and_current(
    asked: int, offers: list[Offer], pinned: list[int], current: int | None, days: int
) -> None:
    granted = policy.granted_days(asked=asked, offers=offers, pinned_max=pinned, current_max=current)
    assert granted == days


@pytest.mark.parametrize(
    ("asked", "offers", "current", "cap"),
    [
        ("420", [], None, "420"),
        ("420", [Offer(monthly_cap_usd=Decimal(100)), Offer()], None, "100"),
        ("420", [], "250", "250"),
    ],
)
def test_the_cap_is_the_least_of_asked_offered_and_current(
    asked: str, offers: list[Offer], current: str | None, cap: str
) -> None:
    most = Decimal(current) if current else None
    granted = policy.granted_cap_usd(asked=Decimal(asked), offers=offers, current_max=most)
    assert granted == Decimal(cap)


def test_the_deadline_is_hours_after_the_request() -> None:
    asked_at = datetime(2027, 3, 27, 12, tzinfo=UTC)
    assert policy.deadline(asked_at, 168) == datetime(2027, 4, 3, 12, tzinfo=UTC)


# ------------------------------------------------------------------------------------ whose turn it is

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)


@given(
    hours=st.integers(0, 400),
    sla=st.integers(1, 200),
    within=st.integers(1, 200),
    roles=st.integers(1, 4),
)
def test_turns_follow_each_other_within_the_time_to_decide(
    hours: int, sla: int, within: int, roles: int
) -> None:
    decide_by, an_hour = MONDAY + timedelta(hours=within), timedelta(hours=1)

    def turn_at(moment: datetime) -> policy.Turn:
        return policy.turn_at(moment, began=MONDAY, decide_by=decide_by, sla=sla * an_hour, roles=roles)

    now = MONDAY + hours * an_hour
    turn = turn_at(now)
    assert MONDAY <= turn.began < turn.ends_at < decide_by
    assert turn.began <= now
    assert now < turn.ends_at or turn.index == roles - 1
    assert turn.index * 2 <= policy.reminders_due(now, turn) <= turn.index * 2 + 2
    later = turn_at(now + an_hour)
    assert policy.reminders_due(now + an_hour, later) >= policy.reminders_due(now, turn)
