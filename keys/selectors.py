"""What keys exist and what they may call now. When a key was last used is a matter of `usage`."""

from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Count, Prefetch, Q, QuerySet

from core import clock
from core.errors import NotFoundError
from core.shapes import Tone
from keys.models import (
    ApiKey,
    Grant,
    GrantState,
    KeyState,
    PlannedActivity,
    ServiceAccount,
    Suspension,
)
from teams.models import Role, Team, User
from teams.selectors import roles_of

DEFAULT_TIER = 1
USABLE = (KeyState.AWAITING_REVEAL, KeyState.LIVE)
EXPIRES_SOON = timedelta(days=14)
TONES = {
    KeyState.AWAITING_REVEAL: "info",
    KeyState.LIVE: "ok",
    KeyState.SUSPENDED: "warn",
    KeyState.EXPIRED: "",
    KeyState.REVOKED: "bad",
}


def listed(user: User) -> QuerySet[ApiKey]:
    """Return the keys that the user may see, the newest first, with all that a row shows. Two queries."""
    grants = Grant.objects.select_related("tier", "granted_by").order_by("tier_id", "-expires_at", "-id")
    return (
        ApiKey.objects.visible_to(user)
        .select_related("project__team__department", "owner", "revoked_by")
        .prefetch_related(Prefetch("grants", queryset=grants))
    )


def listed_grants(user: User) -> QuerySet[Grant]:
    """Return the grants of the keys that the user may see, ended ones too. One query."""
    return Grant.objects.filter(key__in=ApiKey.objects.visible_to(user)).select_related(
        "key", "granted_by", "revoked_by", "supersedes"
    )


def listed_suspensions(user: User) -> QuerySet[Suspension]:
    """Return the suspensions of the keys that the user may see, ended ones too. One query."""
    return Suspension.objects.filter(key__in=ApiKey.objects.visible_to(user)).select_related(
        "key", "suspended_by", "resumed_by"
    )


def listed_plans(user: User) -> QuerySet[PlannedActivity]:
    """Return the planned activities of the keys that the user may see, ended ones too. One query."""
    return PlannedActivity.objects.filter(key__in=ApiKey.objects.visible_to(user)).select_related(
        "key", "planned_by", "cancelled_by"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCounts:
    """How many keys a person owns, and how many of others he may see."""

    mine: int
    others: int


def to_reveal(user: User) -> list[ApiKey]:
    """Return the user's own keys whose secret was not made yet, the newest first. One query."""
    return list(
        ApiKey.objects.filter(
            owner=user, revealed_at__isnull=True, revoked_at__isnull=True, expires_at__gt=clock.now()
        ).order_by("-created_at", "-pk")
    )


def counts(user: User) -> KeyCounts:
    """Return how many keys `listed()` would give. One query."""
    own = Q(owner=user)
    found = ApiKey.objects.visible_to(user).aggregate(
        mine=Count("pk", filter=own), others=Count("pk", filter=~own)
    )
    return KeyCounts(**found)


def find(user: User, public_id: str) -> ApiKey:
    """Return a key that the user may see, as `listed()` loads it. Two queries.

    Raises NotFoundError for one that does not exist or is outside his scope.
    """
    key = listed(user).filter(public_id=public_id).first()
    if key is None:
        raise NotFoundError("There is no such key, or it is not one of yours or of your teams.")
    return key


def active_grants(key: ApiKey) -> list[Grant]:
    """Return the grants of a key that are active now, using those that `listed()` fetched."""
    return [grant for grant in key.grants.all() if grant.state is GrantState.ACTIVE]


def plans_to_come(key: ApiKey) -> QuerySet[PlannedActivity]:
    """Return the planned activities of a key that run or are still to come, the next first. One query."""
    plans = PlannedActivity.objects.filter(key=key, cancelled_at__isnull=True, ends_at__gt=clock.now())
    return plans.select_related("planned_by").order_by("starts_at", "pk")


def open_suspension(key: ApiKey) -> Suspension | None:
    """Return why a key is suspended now, if it is. One query for a suspended key, none for another."""
    if key.state is not KeyState.SUSPENDED:
        return None
    return Suspension.objects.filter(key=key, resumed_at__isnull=True).select_related("suspended_by").first()


def state_in_words(key: ApiKey) -> Tone:
    """Return the state of a key as pages say it; a live key that ends soon says so."""
    state = key.state
    if state is KeyState.LIVE and key.expires_at <= clock.now() + EXPIRES_SOON:
        return Tone(tone="warn", text="Expires soon")
    return Tone(tone=TONES[state], text=state.label)


def tiers_now(key: ApiKey) -> list[int]:
    """Return the tiers that the key may call now, or could once revealed; none when it has ended."""
    if key.state not in USABLE:
        return []
    return sorted({DEFAULT_TIER, *(grant.tier_id for grant in active_grants(key))})


def usable_by_owner(team: Team) -> dict[int, int]:
    """Return how many keys of a team's projects each person has that have not ended. One query."""
    usable = ApiKey.objects.filter(
        project__team=team, revoked_at__isnull=True, expires_at__gt=clock.now()
    ).order_by()
    return dict(usable.values_list("owner").annotate(keys=Count("pk")))


def token_owners(person: User) -> QuerySet[User]:
    """Return for whom a person makes tokens: himself, and the services that he answers for. One query."""
    own = Q(pk=person.pk) | Q(service_account__responsible=person)
    return User.objects.filter(own, is_active=True)


def services_seen_by(user: User) -> QuerySet[ServiceAccount]:
    """Return the services that the user answers for; administrators and auditors see all. Two queries."""
    sees_all = {Role.ADMIN, Role.AUDITOR} & roles_of(user).organisation_wide
    rows = ServiceAccount.objects.all() if sees_all else ServiceAccount.objects.filter(responsible=user)
    return with_live_tokens(rows)


def with_live_tokens(services: QuerySet[ServiceAccount]) -> QuerySet[ServiceAccount]:
    """Return services with the people about them and how many live tokens each has."""
    live = Q(user__api_tokens__revoked_at__isnull=True, user__api_tokens__expires_at__gt=clock.now())
    named = services.select_related("user", "responsible", "created_by")
    return named.annotate(live_tokens=Count("user__api_tokens", filter=live))
