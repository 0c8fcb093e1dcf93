"""Budgets: what may be spent, what is spent and held, what happens at the limit."""

from collections.abc import Iterable

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from budgets import selectors
from budgets.authority import may_change, may_change_anything, who_may_change
from budgets.forms import ListForm
from budgets.models import RateLimit, ScopeKind, Window
from budgets.ports import Expected, Neighbours
from budgets.types import BudgetRow
from budgets.views.common import find, line_of, names_of_keys
from budgets.views.facts import (
    BudgetFacts,
    alert_facts,
    history_lines,
    notice,
    path_lines,
    rate_texts,
    rule_texts,
)
from budgets.views.lines import TITLES, BudgetGroup, budget_groups
from core import addresses
from core.sorting import Head, Table
from core.spreadsheets import Cell, csv_response
from teams.selectors import roles_of
from teams.types import PersonRequest

KEPT = ("scope", "window", "sort")
TABLE = Table(
    usual="name",
    heads=(
        Head(label="Budget", sort="name"),
        Head(label="At the limit"),
        Head(label="Limit", sort="limit", numeric=True),
        Head(label="Spent", sort="spent", numeric=True),
        Head(label="Held", sort="held", numeric=True),
        Head(label="Left", sort="left", numeric=True),
        Head(label="Used", sort="used", falls=True),
        Head(label="Starts again", sort="resets"),
    ),
)
PAGE_ROWS = 100
CSV_HEAD = (
    "Budget", "Scope", "Window", "Only", "At the limit", "The tightest",
    "Limit USD", "Spent USD", "Held USD", "Left USD", "Used percent", "Starts again",
)  # fmt: skip


@require_safe
def list_budgets(request: PersonRequest, *, neighbours: Neighbours) -> HttpResponse:
    """List the budgets of what the person may see, the widest scope first.

    `?scope=` and `?window=` narrow the list down, `?sort=` sorts the budgets of one kind of scope;
    `?format=csv` returns all the rows of all its pages.
    """
    request.roles_held = roles_of(request.user)
    chosen = {name: request.GET.get(name, "") for name in ("scope", "window")}
    as_csv, number = request.GET.get("format") == "csv", addresses.page_number(request)
    found = selectors.list_budgets(
        request.user,
        key_ids=neighbours.keys.visible_ids(request.user),
        roles=request.roles_held,
        scope=ScopeKind(chosen["scope"]) if chosen["scope"] in ScopeKind else None,
        window=Window(chosen["window"]) if chosen["window"] in Window else None,
        order=TABLE.order(request),
        part=slice(None) if as_csv else slice(PAGE_ROWS * number, PAGE_ROWS * (number + 1) + 1),
    )
    rows = found if as_csv else found[:PAGE_ROWS]
    keys = [row.scope_id for row in rows if row.scope_kind is ScopeKind.KEY]
    groups = budget_groups(
        rows,
        names=names_of_keys(request, neighbours, keys),
        forecasts=neighbours.forecasts(rows),
        first=selectors.tightest_of_their_calls(rows),
    )
    if as_csv:
        return csv_response("budgets", CSV_HEAD, _csv_rows(groups))
    previous_url, next_url = addresses.pages(request, KEPT, has_more=len(found) > len(rows))
    context = {
        "groups": groups,
        "form": ListForm(initial=chosen, scopes=[(kind.value, title) for kind, title in TITLES.items()]),
        "columns": TABLE.columns(request, KEPT),
        "is_narrowed": any(chosen.values()),
        "csv_url": addresses.link(request, KEPT, format="csv"),
        "previous_url": previous_url,
        "next_url": next_url,
        "open_url": reverse("budgets:open") if may_change_anything(request.roles_held) else "",
    }
    return render(request, "budgets/list.html", context)


@require_safe
def show_budget(request: PersonRequest, public_id: str, *, neighbours: Neighbours) -> HttpResponse:
    """Show one budget: its window, every limit so far and planned, its rules, what else binds its calls."""
    row = find(request, neighbours, public_id)
    forecast = neighbours.forecasts([row]).get(row.id)
    context = {
        "budget": line_of(request, neighbours, row, forecast),
        "facts": _facts(request, neighbours, row, forecast),
    }
    return render(request, "budgets/detail.html", context)


def _csv_rows(groups: Iterable[BudgetGroup]) -> Iterable[tuple[Cell, ...]]:
    for group in groups:
        for row in group.rows:
            percent = row.spent_percent
            yield (
                row.name,
                group.title,
                row.window,
                row.only,
                row.mode.text,
                "yes" if row.is_tightest else "",
                row.limit_usd,
                row.spent_usd,
                row.held_usd,
                row.left_usd,
                None if percent is None else round(percent, 2),
                row.resets_at.isoformat() if row.resets_at else "never",
            )


def _facts(
    request: PersonRequest, neighbours: Neighbours, row: BudgetRow, forecast: Expected | None
) -> BudgetFacts:
    visible_keys = neighbours.keys.visible_ids(request.user)
    seen = selectors.seen_by(request.user, key_ids=visible_keys, roles=request.roles_held)
    others = selectors.binding_with(row, seen=seen)
    has_rate = row.scope_kind in RateLimit.SCOPES
    return BudgetFacts(
        may_change=may_change(request.roles_held, row.place),
        ask_url=neighbours.ask_for_more(row.public_id) if neighbours.ask_for_more else "",
        notice=notice(row, forecast),
        in_force_since=row.in_force_since,
        forecast_usd=forecast.end_usd if forecast else None,
        window_starts_at=row.window_starts_at,
        who_may_change=who_may_change(row.place),
        tightest=selectors.tightest([row, *others]) == row,
        history=history_lines(row, selectors.limit_history(row.id)),
        path=path_lines(row, others),
        alerts=alert_facts(row, forecast),
        rules=rule_texts(row),
        rates=rate_texts(selectors.rate_here(row.scope_kind, row.scope_id)) if has_rate else None,
    )
