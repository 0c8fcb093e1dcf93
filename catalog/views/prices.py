"""Prices: what is in force and to come for every model, and the whole history of one."""

from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from catalog.models import PriceNotice, PriceProposal, PriceSource, ProposalState, Provider
from catalog.ports import PlannedEffects
from catalog.price_tables import ModelLine, PriceLine, find_model, model_lines, price_lines
from core import addresses, clock
from core.sorting import Head, Table
from core.spreadsheets import Cell, csv_response
from teams.models import Role
from teams.selectors import roles_of
from teams.types import PersonRequest

FILTERS = ("provider", "tier", "source", "change")
KEPT = (*FILTERS, "sort")
TABLE = Table(
    usual="tier",
    heads=(
        Head(label="Model", sort="name"),
        Head(label="Tier", sort="tier"),
        Head(label="Input", sort="input", numeric=True),
        Head(label="Cached input", sort="cached", numeric=True),
        Head(label="Output", sort="output", numeric=True),
        Head(label="Others", sort="others", numeric=True),
        Head(label="Source"),
        Head(label="Newest since", sort="since", falls=True),
    ),
)
SORTS: dict[str, Callable[[ModelLine], str | int | Decimal | datetime | None]] = {
    "name": lambda line: line.model.name.casefold(),
    "tier": lambda line: line.model.tier_id,
    "input": lambda line: line.input_usd,
    "cached": lambda line: line.cached_usd,
    "output": lambda line: line.output_usd,
    "others": lambda line: line.others,
    "since": lambda line: line.since,
}
COMING = "coming"
CSV_HEAD = (
    *("model", "provider", "tier", "input_usd_per_million", "cached_usd_per_million"),
    *("output_usd_per_million", "other_prices", "sources", "authors", "newest_since", "planned"),
)
HISTORY_HEAD = (
    *("price", "unit", "class", "from_input_tokens", "usd_per_unit", "valid_from", "valid_until"),
    *("source", "source_version", "author", "reason"),
)


@require_safe
def list_prices(request: PersonRequest, *, effects: PlannedEffects) -> HttpResponse:
    """List every model's prices in force, with filters; administrators also see what waits for them."""
    request.roles_held = roles_of(request.user)
    every = model_lines()
    lines = TABLE.order(request).of(_chosen(request, every), SORTS)
    if request.GET.get("format") == "csv":
        return csv_response("prices", CSV_HEAD, map(_cells, lines))
    is_admin = Role.ADMIN in request.roles_held.organisation_wide
    context = {
        "lines": lines,
        "at": clock.now(),
        "filters": _filters(request, every),
        "is_filtered": any(request.GET.get(name) for name in FILTERS),
        "columns": TABLE.columns(request, KEPT),
        "csv_url": addresses.link(request, KEPT, format="csv"),
        "effects": effects(request.roles_held),
        "is_admin": is_admin,
        "waiting": list(_waiting()) if is_admin else [],
        "notices": list(_notices()) if is_admin else [],
    }
    return render(request, "catalog/prices/list.html", context)


@require_safe
def show_prices(request: PersonRequest, public_id: str) -> HttpResponse:
    """Show every dated price of one model: in force, planned and past."""
    request.roles_held = roles_of(request.user)
    model = find_model(public_id)
    now = clock.now()
    lines = price_lines(model, at=now)
    if request.GET.get("format") == "csv":
        return csv_response(f"prices-of-{model.public_id}", HISTORY_HEAD, map(_history_cells, lines))
    over = [line for line in lines if line.price.valid_until and line.price.valid_until <= now]
    context = {
        "model": model,
        "in_force": [line for line in lines if line not in over and not line.is_planned],
        "planned": [line for line in lines if line.is_planned and line not in over],
        "past": over,
        "csv_url": addresses.link(request, (), format="csv"),
        "is_admin": Role.ADMIN in request.roles_held.organisation_wide,
    }
    return render(request, "catalog/prices/model.html", context)


def _waiting() -> Iterable[PriceProposal]:
    return PriceProposal.objects.filter(state=ProposalState.WAITING).select_related("proposed_by")


def _notices() -> Iterable[PriceNotice]:
    return PriceNotice.objects.filter(closed_at__isnull=True).select_related("model")


def _chosen(request: HttpRequest, lines: Iterable[ModelLine]) -> list[ModelLine]:
    asked = {name: request.GET.get(name, "") for name in FILTERS}
    source = dict(PriceSource.choices).get(asked["source"], asked["source"])
    return [
        line
        for line in lines
        if asked["provider"] in {"", line.model.provider}
        and asked["tier"] in {"", str(line.model.tier_id)}
        and (not source or source in line.sources)
        and (asked["change"] != COMING or line.planned)
    ]


def _filters(request: HttpRequest, lines: Iterable[ModelLine]) -> list[dict[str, object]]:
    tiers = sorted({line.model.tier_id for line in lines})
    options = {
        "provider": ("Provider", "All providers", Provider.choices),
        "tier": ("Tier", "All tiers", [(str(tier), f"Tier {tier}") for tier in tiers]),
        "source": ("Source", "All sources", PriceSource.choices),
        "change": ("Changes", "With and without", [(COMING, "Known to change")]),
    }
    return [
        {
            "name": name,
            "label": label,
            "every": every,
            "choices": [
                {"value": value, "label": text, "current": request.GET.get(name) == value}
                for value, text in choices
            ],
        }
        for name, (label, every, choices) in options.items()
    ]


def _cells(line: ModelLine) -> list[Cell]:
    planned = "; ".join(f"{each.unit} {each.after} from {each.at:%Y-%m-%d}" for each in line.planned)
    return [
        line.model.name,
        line.model.get_provider_display(),
        line.model.tier_id,
        line.input_usd,
        line.cached_usd,
        line.output_usd,
        line.others,
        "; ".join(line.sources),
        "; ".join(line.authors),
        line.since.isoformat() if line.since else None,
        planned,
    ]


def _history_cells(line: PriceLine) -> list[Cell]:
    price = line.price
    return [
        price.public_id,
        price.unit,
        price.context,
        price.tier_start,
        price.usd_per_unit,
        price.valid_from.isoformat(),
        price.valid_until.isoformat() if price.valid_until else None,
        price.source,
        price.source_version,
        line.author,
        price.reason,
    ]


def history_url(public_id: str) -> str:
    """Return the address of a model's prices."""
    return reverse("prices:model", args=[public_id])
