"""Models and tiers: what a call costs, what the person may use now, and who approves the rest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from catalog.ports import Approvers, OwnUse, OwnUseOf, PlannedEffects, ProjectAccess, ProjectsOf
from catalog.selectors import catalogue
from catalog.types import Catalogue, TierPrices
from catalog.views.comparing import Compared, ModelRow, comparison, known_names, model_row
from core import addresses
from core.sorting import Head, Order, Table
from core.spreadsheets import Cell, csv_response
from teams.models import Role
from teams.selectors import roles_of
from teams.types import PersonRequest

DEFAULT_TIER = 1
PROJECTS_SHOWN = 5
KEPT = ("compare", "sort")
TABLE = Table(
    usual="against",
    heads=(
        Head(label="Model", sort="name"),
        Head(label="Input", sort="input", numeric=True),
        Head(label="Cached input", sort="cached", numeric=True),
        Head(label="Output", sort="output", numeric=True),
        Head(label="Against", sort="against", numeric=True),
        Head(label="My 30 days", sort="mine", numeric=True),
        Head(label="Context", sort="context", numeric=True),
        Head(label="Compare"),
    ),
)
SORTS: dict[str, Callable[[ModelRow], str | int | Decimal | None]] = {
    "name": lambda row: row.prices.name.casefold(),
    "input": lambda row: row.prices.input_usd,
    "cached": lambda row: row.prices.cached_usd,
    "output": lambda row: row.prices.output_usd,
    "against": lambda row: row.prices.times_reference,
    "mine": lambda row: row.monthly_usd,
    "context": lambda row: row.prices.context_tokens,
}
CSV_HEAD = (
    *("tier", "model", "provider", "aliases", "priced", "input_usd_per_million", "cached_usd_per_million"),
    *("output_usd_per_million", "other_prices", "times_reference", "my_30_days_usd", "context_tokens"),
    "approval",
)


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
    rows: tuple[ModelRow, ...]
    approver_text: str
    usable_in: tuple[UsableIn, ...]
    ask_for: tuple[AskFor, ...]


@require_safe
def models(
    request: PersonRequest,
    *,
    projects_of: ProjectsOf,
    approvers: Approvers,
    own_use: OwnUseOf,
    effects: PlannedEffects,
) -> HttpResponse:
    """Show every tier with its models at the prices in force now, and what the person's own use would cost on
    each; `?compare=` names models to show side by side, `?sort=` a column, `?format=csv` asks for a file.
    """
    request.roles_held = roles_of(request.user)
    prices = catalogue()
    projects = projects_of(request.user)
    who = approvers()
    own = own_use(request.user)
    chosen = known_names(prices, request.GET.getlist("compare"))
    table = TABLE if own else TABLE.without("mine")
    order = table.order(request)
    tiers = [_access(tier, projects, who.get(tier.number), own, chosen, order=order) for tier in prices.tiers]
    if request.GET.get("format") == "csv":
        return csv_response("models", CSV_HEAD, (_cells(tier, row) for tier in tiers for row in tier.rows))
    context = {
        "catalog": prices,
        "tiers": tiers,
        "own": own,
        "effects": effects(request.roles_held),
        "comparison": comparison(
            [Compared(row=row, approver_text=tier.approver_text) for tier in tiers for row in tier.rows]
        ),
        "to_price": _to_price(request, prices),
        "columns": table.columns(request, KEPT),
        "csv_url": addresses.link(request, KEPT, format="csv"),
    }
    return render(request, "catalog/models.html", context)


def _to_price(request: PersonRequest, prices: Catalogue) -> int:
    """Return how many models wait for an administrator to price them; others are not told."""
    if Role.ADMIN not in request.roles_held.organisation_wide:
        return 0
    models = (model for tier in prices.tiers for model in tier.models)
    return sum(not model.priced and not model.model.declared_free for model in models)


def _access(
    tier: TierPrices,
    projects: Sequence[ProjectAccess],
    approver: str | None,
    own: OwnUse | None,
    chosen: Sequence[str],
    *,
    order: Order,
) -> TierAccess:
    rows = order.of((model_row(model, own, chosen) for model in tier.models), SORTS)
    if tier.number == DEFAULT_TIER:
        return TierAccess(
            prices=tier,
            rows=rows,
            approver_text="No approval needed",
            usable_in=tuple(_usable(project, None) for project in projects),
            ask_for=(),
        )
    granted = [project for project in projects if tier.number in project.granted_until]
    others = [project for project in projects if tier.number not in project.granted_until]
    return TierAccess(
        prices=tier,
        rows=rows,
        approver_text=f"Approved by {approver}" if approver else "Cannot be asked for yet",
        usable_in=tuple(_usable(project, project.granted_until[tier.number]) for project in granted),
        ask_for=tuple(_ask(each, tier.number) for each in others[:PROJECTS_SHOWN]) if approver else (),
    )


def _usable(project: ProjectAccess, until: datetime | None) -> UsableIn:
    url = f"{reverse('overview')}?{urlencode({'scope': project.public_id})}"
    return UsableIn(project=project.name, url=url, until=until)


def _ask(project: ProjectAccess, tier: int) -> AskFor:
    chosen = urlencode({"project": project.code, "tier": tier})
    return AskFor(project=project.name, url=f"{reverse('approvals:ask')}?{chosen}")


def _cells(tier: TierAccess, row: ModelRow) -> tuple[Cell, ...]:
    prices = row.prices
    return (
        tier.prices.number,
        prices.name,
        prices.provider,
        ", ".join(prices.aliases),
        "yes" if prices.priced else "free" if prices.model.declared_free else "no",
        prices.input_usd,
        prices.cached_usd,
        prices.output_usd,
        "; ".join(f"{each.usd:f} a {each.unit}" for each in prices.per_unit),
        prices.times_reference,
        row.monthly_usd,
        prices.context_tokens,
        tier.approver_text,
    )
