"""What raw SQL as the application's role cannot do to a grant. Each refusal has a control."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from approvals.models import AccessRequest, Verdict
from approvals.services import amend, decide
from core import clock
from keys.models import ApiKey, Grant
from tests import factories
from tests.approvals.by_hand import (
    DECIDE,
    END,
    GRANT,
    check_deferred_constraints,
    execute,
    refused_by,
)
from tests.approvals.conftest import REASON, Ask
from tests.cast import Cast

GRANT_AGAIN = GRANT.replace("grn_by_hand", "grn_again")


def test_control_a_lawful_story_by_hand_is_accepted(grant: dict[str, Any]) -> None:
    execute(GRANT, grant)
    check_deferred_constraints()
    assert Grant.objects.get().public_id == "grn_by_hand"


def test_no_grant_without_a_request(cast: Cast, grant: dict[str, Any]) -> None:
    execute(GRANT, grant)
    with refused_by("grant_was_approved"):
        execute(GRANT_AGAIN, grant | {"source": "req_invented"})


def test_no_grant_from_a_pending_request(cast: Cast, ask: Ask, grant: dict[str, Any]) -> None:
    pending = ask(actor=cast.ben)
    execute(GRANT, grant)
    with refused_by("grant_was_approved"):
        execute(GRANT_AGAIN, grant | {"source": pending.public_id})


def test_no_grant_from_a_denied_request(cast: Cast, ask: Ask, grant: dict[str, Any]) -> None:
    denied = ask(actor=cast.ben)
    decide(actor=cast.cleo, request=denied, verdict=Verdict.DENY, seen_revision=1, comment="No.")
    execute(GRANT, grant)
    with refused_by("grant_was_approved"):
        execute(GRANT_AGAIN, grant | {"source": denied.public_id})


def test_one_grant_per_request(grant: dict[str, Any]) -> None:
    execute(GRANT, grant)
    with pytest.raises(IntegrityError, match="keys_grant_source_request"), transaction.atomic():
        execute(GRANT_AGAIN, grant)


def wider(what: str, grant: dict[str, Any], cast: Cast) -> dict[str, Any]:
    """Return the parameters that go beyond the approval in one way."""
    another_key = factories.ApiKeyFactory.create(owner=cast.ada, project=cast.ranking)
    ways: dict[str, dict[str, Any]] = {
        "tier": {"tier": 3},
        "all models": {"models": []},
        "another model": {"models": [cast.large.pk, cast.larger.pk]},
        "cap": {"cap": grant["cap"] + 1},
        "no cap": {"cap": None},
        "longer": {"expires_at": grant["expires_at"] + timedelta(seconds=1)},
        "earlier": {"starts_at": grant["starts_at"] - timedelta(days=1)},
        "not by the approver": {"actor": cast.cleo.pk},
        "another key": {"key": another_key.pk},
    }
    return ways[what]


@pytest.mark.parametrize(
    "what",
    ["tier", "all models", "another model", "cap", "no cap", "longer", "earlier", "not by the approver"],
)
def test_a_grant_is_within_what_was_asked(cast: Cast, grant: dict[str, Any], what: str) -> None:
    with refused_by("grant_is_within_what_was_approved"):
        execute(GRANT, grant | wider(what, grant, cast))
    execute(GRANT, grant)


def test_a_grant_is_on_the_key_that_the_approval_names(cast: Cast, grant: dict[str, Any]) -> None:
    with refused_by("approval_has_its_grant"):
        execute(GRANT, grant | wider("another key", grant, cast))
    execute(GRANT, grant)


@pytest.mark.parametrize("offer", [{"cap": Decimal(100)}, {"days": 7}])
def test_a_grant_is_within_what_was_offered(
    cast: Cast, asked: AccessRequest, decision: dict[str, Any], offer: dict[str, Any]
) -> None:
    key = factories.ApiKeyFactory.create(owner=cast.ada, project=cast.ranking)
    execute(DECIDE, decision | offer)
    execute(END, ["approved", decision["at"], key.pk, asked.pk])
    starts_at = clock.now()
    terms = {
        "key": key.pk, "tier": 2, "models": asked.model_ids, "cap": offer.get("cap", Decimal(420)),
        "starts_at": starts_at, "expires_at": starts_at + timedelta(days=offer.get("days", 60)),
        "source": asked.public_id, "actor": cast.ben.pk,
    }  # fmt: skip
    wider = {"cap": Decimal(101)} if "cap" in offer else {"expires_at": starts_at + timedelta(days=8)}
    with refused_by("grant_is_within_what_was_approved"):
        execute(GRANT, terms | wider)
    execute(GRANT, terms)


def test_a_grant_is_for_the_beneficiary_and_his_project(
    cast: Cast, asked: AccessRequest, decision: dict[str, Any]
) -> None:
    for key in (
        factories.ApiKeyFactory.create(owner=cast.ben, project=cast.ranking),
        factories.ApiKeyFactory.create(owner=cast.ada, project=cast.fraud),
    ):
        with refused_by("grant_is_within_what_was_approved"):
            execute(DECIDE, decision)
            execute(END, ["approved", decision["at"], key.pk, asked.pk])
            Grant.objects.create(
                key=key, tier_id=2, model_ids=asked.model_ids, monthly_cap_usd=1, granted_by=cast.ben,
                starts_at=clock.now(), expires_at=clock.now() + timedelta(days=1),
                source_request=asked.public_id,
            )  # fmt: skip


def test_a_request_that_names_a_key_is_granted_on_that_key(cast: Cast, decision: dict[str, Any]) -> None:
    named, other = factories.ApiKeyFactory.create_batch(2, owner=cast.dan, project=cast.fraud)
    request = factories.AccessRequestFactory.create(requester=cast.dan, project=cast.fraud, extends_key=named)
    with refused_by("grant_is_within_what_was_approved"):
        execute(DECIDE, decision | {"request": request.pk})
        execute(END, ["approved", decision["at"], other.pk, request.pk])
        Grant.objects.create(
            key=other, tier_id=2, monthly_cap_usd=1, starts_at=clock.now(), source_request=request.public_id,
            expires_at=clock.now() + timedelta(days=1), granted_by=cast.ben,
        )  # fmt: skip


def test_decisions_on_an_older_revision_are_no_quorum(
    cast: Cast, asked: AccessRequest, decision: dict[str, Any]
) -> None:
    execute(DECIDE, decision)
    amend(
        actor=cast.ada, request=asked, seen_revision=1, reason=REASON, duration_days=90,
        expected_monthly_usd=Decimal(9000),
    )  # fmt: skip
    key = ApiKey.objects.create(
        name="k", owner=cast.ada, project=cast.ranking, expires_at=clock.now() + timedelta(days=90)
    )
    with refused_by("request_approved_has_its_quorum"):
        execute(END, ["approved", clock.now(), key.pk, asked.pk])
