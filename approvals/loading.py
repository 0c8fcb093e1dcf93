"""Loads requests with all that says who decides them and what their pages show."""

from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Exists, F, OuterRef, Prefetch, Q, Subquery
from django.db.models.functions import JSONObject

from approvals.eligibility import live_delegations
from approvals.models import (
    AccessRequestQuerySet,
    BudgetComment,
    BudgetRequestQuerySet,
    Comment,
    Decision,
    Stage,
    delegation_covers,
    where_it_is,
)
from budgets.models import Entry, EntryKind
from core import clock
from keys.models import Grant
from teams.models import Membership, Role, RoleAssignment

USED = (EntryKind.SETTLE, EntryKind.LATE, EntryKind.UNSETTLED)
PARTS: tuple[Any, ...] = (
    "stages",
    Prefetch("decisions", Decision.objects.select_related("actor", "on_behalf_of")),
)


def listed(requests: AccessRequestQuerySet) -> AccessRequestQuerySet:
    """Return these requests with their people, their place and the facts that the model names; one query."""
    facts: dict[str, Any] = {
        "said": _said(),
        "extendable_grant": _extendable(),
        "beneficiary_works": _beneficiary_works(),
        "granted_until": granted_until(),
        "booked_at": _booked_at(),
    }
    placed = with_turn(requests).select_related("project__team__department", "project__owner", "tier")
    return placed.select_related("requester", "beneficiary", "key", "extends_key").annotate(**facts)


def with_turn(requests: AccessRequestQuerySet) -> AccessRequestQuerySet:
    """Return these requests with what says who decides them now; one query."""
    now_on = {"request": OuterRef("pk"), "revision": OuterRef("revision")}
    turn = Stage.objects.filter(**now_on, index=OuterRef("stage_index"))
    counted = Decision.objects.filter(**now_on).order_by("pk")
    facts: dict[str, Any] = {
        "waiting_role": Subquery(turn.values("role")),
        "counted_ids": ArraySubquery(counted.values("actor_id")),
        "represented_ids": ArraySubquery(
            counted.filter(on_behalf_of__isnull=False).values("on_behalf_of_id")
        ),
        "lent": _lent(OuterRef("project__team"), OuterRef("project__team__department")),
    }
    return requests.select_related("project__team", "policy").annotate(**facts)


def loaded(requests: AccessRequestQuerySet) -> AccessRequestQuerySet:
    """Return these requests as `listed()` does, with their stages and decisions; three queries."""
    return listed(requests).prefetch_related(*PARTS)


def _beneficiary_works() -> Any:
    person = Q(user=OuterRef("beneficiary"), team=OuterRef("project__team"), user__is_active=True)
    leads = RoleAssignment.objects.live().filter(person, role=Role.LEAD)
    return Exists(Membership.objects.live().filter(person)) | Exists(leads)


def _booked_at() -> Subquery:
    """Give when usage was last booked: how fresh is what a case says of money."""
    booked = Entry.objects.filter(kind__in=USED).order_by("-pk")
    return Subquery(booked.values("recorded_at")[:1])


def _said() -> ArraySubquery:
    row = JSONObject(
        id="public_id",
        who="author__name",
        at="at",
        text="text",
        revision="revision",
        tier="offered_tier__number",
    )
    return ArraySubquery(Comment.objects.filter(request=OuterRef("pk")).order_by("pk").values(row=row))


def _extendable() -> Subquery:
    last = Grant.objects.filter(source_request=OuterRef("public_id"), superseded_by__isnull=True)
    return Subquery(last.filter(key__expires_at__gt=F("expires_at")).values("public_id")[:1])


def with_lent(requests: BudgetRequestQuerySet) -> BudgetRequestQuerySet:
    """Return these requests for more budget with the delegations where they are; no further query."""
    return requests.annotate(lent=_lent(**where_it_is()))  # type: ignore[no-redef]


def with_said(requests: BudgetRequestQuerySet) -> BudgetRequestQuerySet:
    """Return these requests for more budget with what was said about them; no further query."""
    row = JSONObject(who="author__name", at="at", text="text", revision="revision")
    rows = BudgetComment.objects.filter(request=OuterRef("pk")).order_by("pk").values(row=row)
    return requests.annotate(said=ArraySubquery(rows))  # type: ignore[no-redef]


def _lent(team: Any, department: Any) -> ArraySubquery:
    here = delegation_covers(team=team, department=department)
    row = JSONObject(role="role", giver_id="giver_id", taker_id="taker_id", name="taker__name")
    return ArraySubquery(live_delegations().filter(here).values(row=row))


def granted_until() -> Subquery:
    now = clock.now()
    active = Grant.objects.filter(
        source_request=OuterRef("public_id"),
        revoked_at__isnull=True,
        key__revoked_at__isnull=True,
        expires_at__gt=now,
    )
    return Subquery(active.values("expires_at"))
