"""What raw SQL as the application's role cannot do to a request or a decision. Each refusal has a control."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction

from approvals.models import AccessRequest, Decision, Policy, Verdict
from approvals.services import decide, withdraw
from core import clock
from teams.models import Role
from tests import factories
from tests.approvals.by_hand import (
    DECIDE,
    END,
    GRANT,
    change_requests,
    check_deferred_constraints,
    execute,
    refused_as_append_only,
    refused_by,
)
from tests.approvals.conftest import Ask, lend
from tests.cast import Cast

# ------------------------------------------------------------ I3, I4, I6, I8: who counts, and when


def test_control_a_lawful_decision_is_accepted(decision: dict[str, Any]) -> None:
    assert execute(DECIDE, decision) == 1


@pytest.mark.parametrize("field", ["actor", "on_behalf_of"])
def test_neither_the_requester_nor_his_delegate_decides(
    cast: Cast, decision: dict[str, Any], field: str
) -> None:
    with refused_by("decision_is_not_on_own_request"):
        execute(DECIDE, decision | {field: cast.ada.pk})


@pytest.mark.parametrize("field", ["actor", "on_behalf_of"])
def test_neither_the_beneficiary_nor_his_delegate_decides(
    cast: Cast, decision: dict[str, Any], field: str
) -> None:
    for_eve = factories.AccessRequestFactory.create(
        requester=cast.dan, beneficiary=cast.eve, project=cast.fraud
    )
    with refused_by("decision_is_not_on_own_request"):
        execute(DECIDE, decision | {"request": for_eve.pk, field: cast.eve.pk})


def test_nobody_is_his_own_delegate(cast: Cast, decision: dict[str, Any]) -> None:
    with refused_by("decision_is_not_on_own_request"):
        execute(DECIDE, decision | {"on_behalf_of": cast.ben.pk})


@pytest.mark.parametrize("field", ["actor", "on_behalf_of"])
def test_a_leaver_does_not_decide(cast: Cast, decision: dict[str, Any], field: str) -> None:
    cast.cleo.is_active = False
    cast.cleo.save()
    with refused_by("decision_is_by_active_people"):
        execute(DECIDE, decision | {field: cast.cleo.pk})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"actor": "ben"}, {"actor": "cleo", "on_behalf_of": "ben"}),
        ({"actor": "ben", "on_behalf_of": "cleo"}, {"actor": "cleo"}),
        ({"actor": "ben", "on_behalf_of": "cleo"}, {"actor": "ann", "on_behalf_of": "cleo"}),
    ],
)
def test_nobody_counts_twice_as_himself_and_by_a_delegate(
    cast: Cast, ask: Ask, decision: dict[str, Any], first: dict[str, str], second: dict[str, str]
) -> None:
    for giver, taker in (("ben", "cleo"), ("cleo", "ben"), ("cleo", "ann")):
        lend(cast, giver, taker)
    execute(DECIDE, decision | {field: getattr(cast, name).pk for field, name in first.items()})
    with refused_by("decision_counts_nobody_twice"):
        execute(DECIDE, decision | {field: getattr(cast, name).pk for field, name in second.items()})


def test_nobody_decides_for_another_without_his_delegation(cast: Cast, decision: dict[str, Any]) -> None:
    for_ben = decision | {"actor": cast.cleo.pk, "on_behalf_of": cast.ben.pk}
    with refused_by("decision_for_another_has_a_delegation"):
        execute(DECIDE, for_ben)
    lend(cast, "ben", "cleo")
    assert execute(DECIDE, for_ben | {"at": clock.now()}) == 1


def test_nobody_decides_for_another_before_or_after_his_delegation(
    cast: Cast, decision: dict[str, Any]
) -> None:
    lent = lend(cast, "ben", "cleo")
    for_ben = decision | {"actor": cast.cleo.pk, "on_behalf_of": cast.ben.pk}
    for at in (lent.valid_from - timedelta(seconds=1), lent.valid_until):
        with refused_by("decision_for_another_has_a_delegation"):
            execute(DECIDE, for_ben | {"at": at})


def test_only_who_holds_a_role_lends_it_and_for_thirty_days_at_most(cast: Cast) -> None:
    now = clock.now()
    with refused_by("delegation_is_of_a_role_held"):
        lend(cast, "ada", "cleo", role=Role.LEAD)
    lend(cast, "ben", "cleo")
    with refused_by("delegation_is_of_a_role_held"):
        lend(cast, "cleo", "ada", role=Role.LEAD)
    with refused_by("delegation_is_short"):
        lend(cast, "ben", "ada", valid_from=now, valid_until=now + timedelta(days=30, seconds=1))
    with refused_by("delegation_is_to_somebody_else"):
        lend(cast, "ben", "ben")
    with refused_by("delegation_has_the_scope_of_its_role"):
        factories.DelegationFactory.create(
            giver=cast.fay, taker=cast.ada, role=Role.FINANCE, team=None, department=None
        )


@pytest.mark.parametrize(
    "change", ["valid_until = valid_until + interval '1 second'", "role = 'admin'", "taker_id = giver_id"]
)
def test_a_delegation_only_shrinks(cast: Cast, change: str) -> None:
    lend(cast, "ben", "cleo")
    with refused_by("delegation_only_shrinks"):
        execute(f"UPDATE approvals_delegation SET {change}")  # noqa: S608  text of the tests
    assert execute("UPDATE approvals_delegation SET valid_until = valid_from") == 1
    with refused_by("delegation_only_shrinks"):
        execute("DELETE FROM approvals_delegation")


def test_nobody_counts_twice_in_two_stages(cast: Cast) -> None:
    request = factories.AccessRequestFactory.create(
        requester=cast.ada, project=cast.ranking, stages=[("lead", 1), ("director", 1)]
    )
    decide(actor=cast.ben, request=request, verdict=Verdict.APPROVE, seen_revision=1)
    with refused_by("decision_counts_nobody_twice"):
        Decision.objects.create(
            request=request, revision=1, stage_index=1, actor=cast.ben, verdict="approve", at=clock.now()
        )


@pytest.mark.parametrize("late_by", [timedelta(0), timedelta(days=1)])
def test_no_decision_at_or_after_the_deadline(
    asked: AccessRequest, decision: dict[str, Any], late_by: timedelta
) -> None:
    with refused_by("decision_is_in_time"):
        execute(DECIDE, decision | {"at": asked.decide_by + late_by})


def test_a_decision_is_not_dated_back(cast: Cast, decision: dict[str, Any]) -> None:
    now = clock.now()
    over = factories.AccessRequestFactory.create(
        requester=cast.dan, project=cast.fraud, created_at=now - timedelta(days=8)
    )
    with refused_by("decision_is_in_time"):
        execute(DECIDE, decision | {"request": over.pk, "at": now - timedelta(days=7)})


@pytest.mark.parametrize("changes", [{"revision": 2}, {"revision": 0}, {"stage": 1}])
def test_a_decision_is_on_the_current_revision_and_stage(
    decision: dict[str, Any], changes: dict[str, int]
) -> None:
    with refused_by("decision_is_on_what_waits"):
        execute(DECIDE, decision | changes)


def test_nobody_decides_what_is_over(cast: Cast, asked: AccessRequest, decision: dict[str, Any]) -> None:
    withdraw(actor=cast.ada, request=asked)
    with refused_by("decision_is_on_what_waits"):
        execute(DECIDE, decision)


@pytest.mark.parametrize("changes", [{"cap": Decimal("420.01")}, {"days": 61}])
def test_an_offer_is_never_above_what_was_asked(decision: dict[str, Any], changes: dict[str, Any]) -> None:
    with refused_by("decision_only_lowers"):
        execute(DECIDE, decision | changes)


def test_a_denial_has_a_reason(decision: dict[str, Any]) -> None:
    with refused_by("decision_to_deny_has_a_reason"):
        execute(DECIDE.replace("'By hand.'", "''"), decision | {"verdict": "deny"})


# --------------------------------------------------------------- I7: what is decided stays decided


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE approvals_decision SET verdict = 'deny'",
        "DELETE FROM approvals_decision",
        "TRUNCATE approvals_decision",
        "UPDATE approvals_stage SET quorum = 9",
        "DELETE FROM approvals_stage",
        "TRUNCATE approvals_stage CASCADE",
        "TRUNCATE approvals_accessrequest CASCADE",
        "TRUNCATE keys_grant CASCADE",
    ],
)
def test_decisions_and_stages_are_append_only(cast: Cast, asked: AccessRequest, statement: str) -> None:
    decide(actor=cast.ben, request=asked, verdict=Verdict.APPROVE, seen_revision=1)
    check_deferred_constraints()
    with refused_as_append_only():
        execute(statement)


@pytest.mark.parametrize(
    "change",
    [
        "status = 'pending', decided_at = NULL, key_id = NULL",
        "status = 'denied'",
        "reason = 'Another one, afterwards.'",
        "duration_days = 90",
        "revision = 2, stage_index = 0",
        "decided_at = decided_at - interval '1 day'",
        "closed_reason = 'x'",
    ],
)
def test_an_approved_request_never_changes(cast: Cast, asked: AccessRequest, change: str) -> None:
    decide(actor=cast.ben, request=asked, verdict=Verdict.APPROVE, seen_revision=1)
    check_deferred_constraints()
    with refused_by("request_decided_is_final"):
        change_requests(change)


@pytest.mark.parametrize("ending", ["withdrawn", "denied", "expired"])
def test_every_final_state_is_final(cast: Cast, asked: AccessRequest, ending: str) -> None:
    if ending == "denied":
        decide(actor=cast.ben, request=asked, verdict=Verdict.DENY, seen_revision=1, comment="No.")
    else:
        execute(END, [ending, asked.decide_by, None, asked.pk])
    with refused_by("request_decided_is_final"):
        change_requests("status = 'pending', decided_at = NULL")


def test_no_request_is_deleted(asked: AccessRequest) -> None:
    with refused_by("request_decided_is_final"):
        execute("DELETE FROM approvals_accessrequest")


# --------------------------------------------------------------- what a pending request may become


@pytest.mark.parametrize(
    "change",
    [
        "requester_id = {dan}",
        "beneficiary_id = {dan}",
        "project_id = {fraud}",
        "tier_id = 3",
        "created_at = created_at - interval '1 day'",
        "public_id = 'req_other'",
        "kind = 'extension'",
    ],
)
def test_a_request_keeps_its_people_and_place(cast: Cast, asked: AccessRequest, change: str) -> None:
    place = change.format(dan=cast.dan.pk, fraud=cast.fraud.pk)
    with refused_by("request_keeps_its_people"):
        change_requests(place)


@pytest.mark.parametrize(
    "change",
    [
        "model_ids = '{}'",
        "duration_days = 90",
        "expected_monthly_usd = 9999",
        "reason = 'Something else entirely.'",
        "decide_by = decide_by + interval '1 year'",
        "revision = revision + 2",
        "revision = revision - 1",
        "revision = revision + 1, stage_index = 1",
        "revision = revision + 1, status = 'withdrawn', decided_at = now()",
    ],
)
def test_a_change_of_scope_needs_a_new_revision(asked: AccessRequest, change: str) -> None:
    with refused_by("request_scope_needs_a_revision"):
        change_requests(change)


def test_control_a_change_of_scope_with_a_new_revision_is_accepted(asked: AccessRequest) -> None:
    assert change_requests("duration_days = 90, revision = 2, stage_index = 0")


def test_a_new_revision_without_stages_cannot_be_approved(asked: AccessRequest, cast: Cast) -> None:
    change_requests("revision = 2")
    with refused_by("decision_is_on_what_waits"):
        execute(
            DECIDE,
            {
                "request": asked.pk, "revision": 2, "stage": 0, "actor": cast.ben.pk, "on_behalf_of": None,
                "verdict": "approve", "cap": None, "days": None, "at": clock.now(),
            },
        )  # fmt: skip
    key = factories.ApiKeyFactory.create(owner=cast.ada, project=cast.ranking)
    with refused_by("request_approved_has_its_quorum"):
        execute(END, ["approved", clock.now(), key.pk, asked.pk])


@pytest.mark.parametrize("status", ["approved", "denied", "withdrawn", "expired"])
def test_a_request_starts_pending(cast: Cast, status: str) -> None:
    with refused_by("request_starts_pending"):
        factories.AccessRequestFactory.create(
            requester=cast.ada, project=cast.ranking, status=status, decided_at=clock.now()
        )


def test_no_approval_without_a_decision(cast: Cast, asked: AccessRequest) -> None:
    key = factories.ApiKeyFactory.create(owner=cast.ada, project=cast.ranking)
    with refused_by("request_approved_has_its_quorum"):
        execute(END, ["approved", clock.now(), key.pk, asked.pk])


def test_no_approval_with_half_a_quorum(cast: Cast, decision: dict[str, Any]) -> None:
    request = factories.AccessRequestFactory.create(
        requester=cast.dan, project=cast.fraud, stages=[("lead", 2)]
    )
    key = factories.ApiKeyFactory.create(owner=cast.dan, project=cast.fraud)
    execute(DECIDE, decision | {"request": request.pk})
    with refused_by("request_approved_has_its_quorum"):
        execute(END, ["approved", clock.now(), key.pk, request.pk])
    execute(DECIDE, decision | {"request": request.pk, "actor": cast.cleo.pk})
    assert execute(END, ["approved", clock.now(), key.pk, request.pk]) == 1
    transaction.set_rollback(True)


def test_no_approval_before_the_last_stage(cast: Cast, decision: dict[str, Any]) -> None:
    request = factories.AccessRequestFactory.create(
        requester=cast.dan, project=cast.fraud, stages=[("lead", 1), ("director", 1)]
    )
    key = factories.ApiKeyFactory.create(owner=cast.dan, project=cast.fraud)
    execute(DECIDE, decision | {"request": request.pk})
    with refused_by("request_approved_has_its_quorum"):
        execute(END, ["approved", clock.now(), key.pk, request.pk])


def test_no_stage_is_skipped(cast: Cast, decision: dict[str, Any]) -> None:
    request = factories.AccessRequestFactory.create(
        requester=cast.dan, project=cast.fraud, stages=[("lead", 1), ("director", 1)]
    )
    advance = f"stage_index = stage_index + (id = {request.pk})::int"
    with refused_by("request_stage_needs_a_quorum"):
        change_requests(advance)
    execute(DECIDE, decision | {"request": request.pk})
    change_requests(advance)
    with refused_by("request_stage_needs_a_quorum"):
        change_requests(advance)


def test_an_approval_names_its_key(asked: AccessRequest, decision: dict[str, Any]) -> None:
    execute(DECIDE, decision)
    with refused_by("request_approved_has_its_quorum"):
        execute(END, ["approved", clock.now(), None, asked.pk])


def test_an_approval_has_its_grant_at_commit(grant: dict[str, Any]) -> None:
    with refused_by("approval_has_its_grant"):
        check_deferred_constraints()
    execute(GRANT, grant)


def test_no_denial_without_a_decision(asked: AccessRequest) -> None:
    with refused_by("request_denied_has_a_decision"):
        execute(END, ["denied", clock.now(), None, asked.pk])


def test_no_expiry_before_the_deadline(asked: AccessRequest) -> None:
    with refused_by("request_expires_at_its_time"):
        execute(END, ["expired", asked.decide_by - timedelta(seconds=1), None, asked.pk])


def test_one_pending_request_per_person_project_tier_and_kind(cast: Cast, asked: AccessRequest) -> None:
    with refused_by("request_one_pending_per_person_project_tier"):
        factories.AccessRequestFactory.create(requester=cast.ada, project=cast.ranking)
    factories.AccessRequestFactory.create(requester=cast.ben, project=cast.ranking)


# ----------------------------------------------------------- stages are pinned, policies versioned


@pytest.mark.parametrize("changes", [{"revision": 2}, {"index": 2}, {"index": 0}])
def test_a_stage_is_pinned_in_order_at_the_current_revision(
    asked: AccessRequest, changes: dict[str, int]
) -> None:
    terms = {"revision": 1, "index": 1, "role": "director", "quorum": 1, "max_days": 90} | changes
    with refused_by("stage_is_pinned"):
        asked.stages.create(**terms)


def test_no_stage_is_added_after_the_first_decision(cast: Cast, decision: dict[str, Any]) -> None:
    request = factories.AccessRequestFactory.create(
        requester=cast.dan, project=cast.fraud, stages=[("lead", 2)]
    )
    execute(DECIDE, decision | {"request": request.pk})
    with refused_by("stage_is_pinned"):
        request.stages.create(revision=1, index=1, role="director", quorum=1, max_days=90)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE approvals_policy SET max_days = 900",
        "UPDATE approvals_policy SET stages = '[]'",
        "DELETE FROM approvals_policy WHERE tier_id = 3",
    ],
)
def test_a_policy_never_changes(cast: Cast, statement: str) -> None:
    with refused_by("policy_is_versioned"):
        execute(statement)


def test_a_policy_is_retired_once(cast: Cast) -> None:
    policies = Policy.objects.filter(tier=cast.tier2)
    assert policies.update(retired_at=clock.now()) == 1
    with refused_by("policy_is_versioned"):
        policies.update(retired_at=None)


@pytest.mark.parametrize("stages", [[], {}, "lead"])
def test_a_policy_has_stages(cast: Cast, stages: Any) -> None:
    with refused_by("policy_has_stages"):
        factories.PolicyFactory.create(
            tier=factories.tier(4), version=1, stages=stages, default_days=1, max_days=1
        )
