"""What the templates of keys show."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from django.urls import reverse

from core.money import ZERO
from core.shapes import Tone
from keys.models import ApiKey, Grant, KeyState
from keys.ports import KeyUse
from keys.selectors import DEFAULT_TIER, active_grants, state_in_words, tiers_now
from keys.services.common import ENDED
from teams.models import User
from teams.selectors import RolesHeld


@dataclass(frozen=True, slots=True, kw_only=True)
class TierNow:
    """A tier that a key may call now; Tier 1 lasts as long as the key."""

    name: str
    until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """One line of the list; an address is empty where the person may not go."""

    name: str
    public_id: str
    owner: str
    masked: str
    state: Tone
    project: str
    project_id: str
    tiers: tuple[TierNow, ...]
    made_at: datetime
    expires_at: datetime
    last_used_on: date | None
    spent_usd: Decimal
    url: str
    reveal_url: str
    revoke_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFacts:
    """One key on its own pages; `rotates` when its next reveal replaces a secret."""

    name: str
    project: str
    state: Tone
    masked: str
    may_call: str
    expires_at: datetime
    revealed_at: datetime | None
    rotates: bool
    overlap_hours: int | None
    reveal_url: str
    revoke_url: str


def key_row(key: ApiKey, *, user: User, roles: RolesHeld, use: KeyUse | None) -> KeyRow:
    """Return a key that `selectors.listed()` loaded as the list shows it to this person."""
    return KeyRow(
        name=key.name,
        public_id=key.public_id,
        owner=str(key.owner),
        masked=key.masked,
        state=state_in_words(key),
        project=key.project.name,
        project_id=key.project.code,
        made_at=key.created_at,
        tiers=tuple(TierNow(name=f"Tier {tier}", until=_until(key, tier)) for tier in tiers_now(key)),
        expires_at=key.expires_at,
        last_used_on=use.last_day if use else None,
        spent_usd=use.month_usd if use else ZERO,
        url=reverse("keys:detail", args=[key.public_id]),
        reveal_url=_reveal_url(key, user),
        revoke_url=_revoke_url(key) if _may_revoke(key, user, roles) else "",
    )


def key_facts(
    key: ApiKey, *, user: User, acts: bool = True, models: Sequence[tuple[int, str]] = ()
) -> KeyFacts:
    """Return a key as its pages show it to somebody who `acts` on it or only watches; `models` are ids and
    names of what it may call.
    """
    return KeyFacts(
        name=key.name,
        project=key.project.name,
        state=state_in_words(key),
        masked=key.masked,
        may_call=_may_call(key, dict(models)),
        expires_at=key.expires_at,
        revealed_at=key.revealed_at,
        rotates=key.awaits_successor,
        overlap_hours=key.rotation_overlap_hours,
        reveal_url=_reveal_url(key, user),
        revoke_url=_revoke_url(key) if acts and key.state not in ENDED else "",
    )


def _reveal_url(key: ApiKey, user: User) -> str:
    waits = key.owner_id == user.pk and (key.state is KeyState.AWAITING_REVEAL or key.awaits_successor)
    return reverse("keys:reveal", args=[key.public_id]) if waits else ""


def _revoke_url(key: ApiKey) -> str:
    return reverse("keys:revoke", args=[key.public_id])


def _may_revoke(key: ApiKey, user: User, roles: RolesHeld) -> bool:
    return key.state not in ENDED and (key.owner_id == user.pk or roles.oversees(key.project.team))


def _until(key: ApiKey, tier: int) -> datetime | None:
    return max((grant.expires_at for grant in active_grants(key) if grant.tier_id == tier), default=None)


def _may_call(key: ApiKey, names: dict[int, str]) -> str:
    parts = [f"every model of Tier {DEFAULT_TIER}"]
    parts += [f"{_models(grant, names)} until {grant.expires_at:%-d %B %Y}" for grant in active_grants(key)]
    return "; ".join(parts)


def _models(grant: Grant, names: dict[int, str]) -> str:
    if not grant.model_ids:
        return f"every model of {grant.tier}"
    return ", ".join(names.get(model, "a retired model") for model in grant.model_ids)
