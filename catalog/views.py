"""Models and tiers: what a call costs, what the person may use now, and who approves the rest."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from catalog.ports import Approvers, GrantedTier, GrantsOf
from catalog.selectors import TierPrices, catalogue
from teams.models import Project
from teams.types import PersonRequest

DEFAULT_TIER = 1
PROJECTS_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class UsableIn:
    """A project in which the person may use a tier; Tier 1 needs no end."""

    project: str
    url: str
    until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AskFor:
    """A project for which the person may ask for a tier, with the form that has both filled in."""

    project: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TierAccess:
    """A tier with its models, who approves it, and what the person may do with it."""

    prices: TierPrices
    approver_text: str
    usable_in: tuple[UsableIn, ...]
    ask_for: tuple[AskFor, ...]


@require_safe
def models(request: PersonRequest, *, grants_of: GrantsOf, approvers: Approvers) -> HttpResponse:
    """Show every tier with its models at the prices in force now."""
    prices = catalogue()
    projects = list(Project.objects.workable_by(request.user))
    granted = list(grants_of(request.user))
    who = approvers()
    tiers = [_access(tier, projects, granted, who) for tier in prices.tiers]
    return render(request, "catalog/models.html", {"catalog": prices, "tiers": tiers})


def _access(
    tier: TierPrices, projects: list[Project], granted: Iterable[GrantedTier], who: Mapping[int, str]
) -> TierAccess:
    if tier.number == DEFAULT_TIER:
        return TierAccess(
            prices=tier,
            approver_text="No approval needed",
            usable_in=tuple(_usable(project, None) for project in projects),
            ask_for=(),
        )
    until = _ends(tier.number, granted)
    others = [project for project in projects if project.pk not in until]
    approver = who.get(tier.number)
    return TierAccess(
        prices=tier,
        approver_text=f"Approved by {approver}" if approver else "Cannot be asked for yet",
        usable_in=tuple(_usable(each, until[each.pk]) for each in projects if each.pk in until),
        ask_for=tuple(_ask(each, tier.number) for each in others[:PROJECTS_SHOWN]) if approver else (),
    )


def _ends(tier: int, granted: Iterable[GrantedTier]) -> dict[int, datetime]:
    """Return when the person's access to a tier ends in each project: with the last of his grants."""
    ends: dict[int, datetime] = {}
    for grant in granted:
        if grant.tier == tier:
            ends[grant.project_id] = max(grant.until, ends.get(grant.project_id, grant.until))
    return ends


def _usable(project: Project, until: datetime | None) -> UsableIn:
    url = f"{reverse('overview')}?{urlencode({'scope': project.public_id})}"
    return UsableIn(project=project.name, url=url, until=until)


def _ask(project: Project, tier: int) -> AskFor:
    chosen = urlencode({"project": project.code, "tier": tier})
    return AskFor(project=project.name, url=f"{reverse('approvals:ask')}?{chosen}")
