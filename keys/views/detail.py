"""One key on a page of its own: its secret, what it may call, what it did, and what can be done with it."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from catalog.selectors import model_names
from core.shapes import Tone
from core.words import counted
from keys import selectors
from keys.models import ApiKey, Grant, GrantState, KeyState, PlannedActivity
from keys.ports import ExposureOfKey, KeyExposure
from keys.services.common import ENDED
from keys.views.shapes import KeyFacts, key_facts
from teams.selectors import roles_of
from teams.types import PersonRequest

GRANT_TONES = {
    GrantState.SCHEDULED: "info",
    GrantState.ACTIVE: "ok",
    GrantState.EXPIRED: "",
    GrantState.REVOKED: "bad",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantRow:
    """One grant of the key; an address is empty where nothing can be taken away."""

    grant: Grant
    state: Tone
    models: str
    shrink_url: str
    end_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspensionNote:
    """Why the key is stopped, and the minutes that led to it where the breaker stopped it."""

    since: datetime
    text: str
    minutes_usd: tuple[Decimal, ...]
    resume_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """A planned activity that runs or is to come; the address is empty for who may not cancel it."""

    plan: PlannedActivity
    cancel_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPage:
    """A key with everything that its page shows besides its facts."""

    facts: KeyFacts
    owner: str
    team: str
    created_at: datetime
    previous_masked: str
    previous_until: datetime | None
    rotation_text: str
    grants: tuple[GrantRow, ...]
    exposure: KeyExposure
    rotate_url: str
    rename_url: str
    end_previous_url: str
    revoked_text: str
    suspension: SuspensionNote | None
    suspend_url: str
    plans: tuple[PlanRow, ...]
    plan_url: str


@require_safe
def show_key(request: PersonRequest, public_id: str, *, exposure_of: ExposureOfKey) -> HttpResponse:
    """Show a key to its owner and to those who oversee it; who may act on it finds the ways to."""
    key = selectors.find(request.user, public_id)
    request.roles_held = roles_of(request.user)
    oversees = request.roles_held.oversees(key.project.team)
    acts = key.owner_id == request.user.pk or oversees
    usable = key.state not in ENDED
    names = model_names({model for grant in key.grants.all() for model in grant.model_ids})
    page = KeyPage(
        facts=key_facts(key, user=request.user, acts=acts, models=list(names.items())),
        owner=str(key.owner),
        team=key.project.team.name,
        created_at=key.created_at,
        previous_masked=key.previous_masked if key.previous_is_live else "",
        previous_until=key.previous_until,
        rotation_text=_rotation_text(key),
        grants=tuple(_grant_row(key, grant, names, acts=acts) for grant in key.grants.all()),
        exposure=exposure_of(key.pk),
        rotate_url=_url("rotate", key) if acts and _may_rotate(key) else "",
        rename_url=_url("rename", key) if acts and usable else "",
        end_previous_url=_url("end_previous", key) if acts and key.previous_is_live else "",
        revoked_text=_revoked_text(key),
        suspension=_suspension_note(key, oversees=oversees),
        suspend_url=_url("suspend", key) if acts and key.state is KeyState.LIVE else "",
        plans=tuple(_plan_row(key, plan, oversees=oversees) for plan in selectors.plans_to_come(key)),
        plan_url=_url("plan", key) if oversees and usable else "",
    )
    return render(request, "keys/detail.html", {"page": page})


def _url(view: str, key: ApiKey) -> str:
    return reverse(f"keys:{view}", args=[key.public_id])


def _may_rotate(key: ApiKey) -> bool:
    return key.state not in ENDED and key.revealed_at is not None and not key.previous_is_live


def _rotation_text(key: ApiKey) -> str:
    if not key.awaits_successor:
        return ""
    hours = key.rotation_overlap_hours
    more = f", and for {counted(hours, 'hour')} more" if hours else ""
    return (
        f"A new secret waits for {key.owner}, who owns the key, to reveal it. {key.masked} goes on until"
        f" then{more}."
    )


def _revoked_text(key: ApiKey) -> str:
    if key.revoked_at is None:
        return ""
    return f"{key.revoked_by or 'Purser'} on {key.revoked_at:%-d %B %Y at %H:%M} UTC: {key.revoked_reason}"


def _suspension_note(key: ApiKey, *, oversees: bool) -> SuspensionNote | None:
    suspension = selectors.open_suspension(key)
    if suspension is None:
        return None
    by = suspension.suspended_by or "Purser"
    return SuspensionNote(
        since=suspension.suspended_at,
        text=f"{by} suspended it: {suspension.reason}",
        minutes_usd=tuple(Decimal(usd) for usd in suspension.evidence.get("minutes", ())),
        resume_url=_url("resume", key) if oversees else "",
    )


def _plan_row(key: ApiKey, plan: PlannedActivity, *, oversees: bool) -> PlanRow:
    where = [key.public_id, plan.public_id]
    return PlanRow(plan=plan, cancel_url=reverse("keys:cancel_plan", args=where) if oversees else "")


def _grant_row(key: ApiKey, grant: Grant, names: dict[int, str], *, acts: bool) -> GrantRow:
    state = grant.state
    live = acts and key.state not in ENDED and state in {GrantState.ACTIVE, GrantState.SCHEDULED}
    where = [key.public_id, grant.public_id]
    return GrantRow(
        grant=grant,
        state=Tone(tone=GRANT_TONES[state], text=state.label),
        models=", ".join(names.get(model, "a retired model") for model in grant.model_ids) or "every model",
        shrink_url=reverse("keys:shrink_grant", args=where) if live else "",
        end_url=reverse("keys:end_grant", args=where) if live else "",
    )
