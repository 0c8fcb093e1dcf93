"""Opening and closing budgets, what happens at their limits, how fast their scopes may call."""

from dataclasses import asdict
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from budgets import selectors
from budgets.allocation import handed_out
from budgets.authority import may_change_anything, scopes_limited_by
from budgets.forms import OpenForm, RateForm, RulesForm
from budgets.models import Allocation, Budget, Mode, RateLimit, RollOver, ScopeKind, Window
from budgets.ports import Neighbours
from budgets.scopes import find_scope
from budgets.services import limits, rates, rules
from budgets.types import BudgetRow, Rate, ScopePlace
from budgets.views.common import ConfirmText, FormPage, confirm_page, find, form_page, line_of, powers_here
from budgets.views.limits import FORM_METHODS
from catalog.models import LlmModel, Tier
from core import clock
from core.errors import InvalidInputError, NotFoundError
from core.money import format_usd
from teams.errors import RoleNeededError
from teams.models import Department
from teams.selectors import roles_of
from teams.types import PersonRequest

ANCHORS = {Window.WEEK: "week_start", Window.FISCAL_YEAR: "year_start"}


@require_http_methods(FORM_METHODS)
def open_budget(request: PersonRequest, *, neighbours: Neighbours) -> HttpResponse:
    """Open a budget of what the person answers for; `?scope=` and `?key=` fill the form in."""
    request.roles_held = roles_of(request.user)
    if not may_change_anything(request.roles_held):
        raise RoleNeededError("You may not open budgets. Ask the lead of your team.")
    scopes = [(f"{kind.value}:{known}", name) for kind, known, name in scopes_limited_by(request.roles_held)]
    form = OpenForm(
        request.POST or None,
        initial={"time_zone": settings.TIME_ZONE, **request.GET.dict()},
        scopes=scopes,
        filters=_filters(),
    )

    def act(entered: dict[str, Any]) -> str:
        budget = _open(request, neighbours, entered)
        window = Window(budget.window).label.lower()
        return f"A {window} budget of {format_usd(entered['limit_usd'])} is in force on the next call."

    page = FormPage(
        title="Open a budget",
        text="It is in force on the next call, and counts from then on.",
        url=reverse("budgets:open"),
        submit_text="Open the budget",
        cancel_url=reverse("budgets:list"),
    )
    return form_page(request, neighbours, page=page, form=form, act=act)


@require_http_methods(FORM_METHODS)
def change_rules(request: PersonRequest, public_id: str, *, neighbours: Neighbours) -> HttpResponse:
    """Change what happens at the limit, how it is shared, and what rolls over."""
    row = find(request, neighbours, public_id)
    powers_here(request, row, "You may not set these rules.")
    line = line_of(request, neighbours, row)

    def act(entered: dict[str, Any]) -> str:
        rules.set_rules(
            actor=request.user,
            budget=Budget.objects.get(pk=row.id),
            mode=Mode(entered["mode"]),
            allocation=Allocation(entered["allocation"]),
            overcommit_ratio=entered["overcommit_ratio"],
            roll_over=RollOver(entered["roll_over"]),
            alert_percents=entered["alert_percents"],
            reason=entered["reason"],
            confirm="confirm" in request.POST,
        )
        return f"The rules of {line.name}, {line.window}, are in force on the next call."

    page = FormPage(
        title=f"Rules of {line.name}, {line.window}",
        text=f"{_handed_out(row)} Other rules are in force on the next call; what rolls over changes with the"
        " next window.",
        url=line.rules_url,
        submit_text="Set the rules",
        cancel_url=line.url,
    )
    confirm = ConfirmText(
        title=f"Refuse calls of {line.name} at once?", submit_text="Set the rules and refuse calls"
    )
    ratio = row.overcommit_ratio if row.allocation is Allocation.OVERCOMMIT else None
    now = {
        "mode": row.mode,
        "allocation": row.allocation,
        "overcommit_ratio": ratio,
        "roll_over": row.roll_over,
        "alert_percents": row.alert_percents,
    }
    form = RulesForm(request.POST or None, initial=now)
    return form_page(request, neighbours, page=page, form=form, act=act, line=line, confirm=confirm)


@require_http_methods(FORM_METHODS)
def close_budget(request: PersonRequest, public_id: str, *, neighbours: Neighbours) -> HttpResponse:
    """End a budget, after a page that names the consequences and asks why."""
    row = find(request, neighbours, public_id)
    powers_here(request, row, "You may not close this budget.")
    line = line_of(request, neighbours, row)

    def act(reason: str) -> str:
        rules.close_budget(actor=request.user, budget=Budget.objects.get(pk=row.id), reason=reason)
        return f"The budget of {line.name}, {line.window}, is closed."

    others = [other for other in selectors.binding_with(row) if other.limit_usd is not None]
    confirm = {
        "title": f"Close the budget of {line.name}, {line.window}?",
        "consequences": _consequences(row, len(others)),
        "url": line.close_url,
        "submit_text": "Close the budget",
        "cancel_url": line.url,
    }
    done_url = reverse("budgets:list")
    return confirm_page(request, neighbours, confirm=confirm, act=act, done_url=done_url)


@require_http_methods(FORM_METHODS)
def change_rate(request: PersonRequest, public_id: str, *, neighbours: Neighbours) -> HttpResponse:
    """Set how fast the scope of a budget may call."""
    row = find(request, neighbours, public_id)
    if row.scope_kind not in RateLimit.SCOPES:
        raise NotFoundError("Rates are set on keys, projects and teams.")
    powers_here(request, row, "You may not set this rate limit.")
    line = line_of(request, neighbours, row)

    def act(entered: dict[str, Any]) -> str:
        rate = Rate(**{name: entered[name] for name in rates.NAMES})
        rates.set_rate_limit(
            actor=request.user,
            scope_kind=row.scope_kind,
            scope_id=row.scope_id,
            rate=rate,
            reason=entered["reason"],
        )
        return f"{line.name} has another rate, in force on the next call."

    page = FormPage(
        title=f"How fast {line.name} may call",
        text="A rate counts whatever a call costs. It is in force on the next call.",
        url=line.rate_url,
        submit_text="Set the rate",
        cancel_url=line.url,
    )
    form = RateForm(request.POST or None, initial=asdict(selectors.rate_here(row.scope_kind, row.scope_id)))
    return form_page(request, neighbours, page=page, form=form, act=act)


def _open(request: PersonRequest, neighbours: Neighbours, entered: dict[str, Any]) -> Budget:
    """Open what was entered. Raises what `limits.open_budget` raises."""
    place = _place(request, neighbours, entered)
    window = Window(entered["window"])
    which, _, name = entered["only"].partition(":")
    return limits.open_budget(
        actor=request.user,
        scope_kind=place.kind,
        scope_id=place.id,
        department=Department.objects.get(pk=place.department_id) if place.department_id else None,
        window=window,
        window_anchor=entered[ANCHORS[window]] if window in ANCHORS else 1,
        time_zone=entered["time_zone"],
        mode=Mode(entered["mode"]),
        amount_usd=entered["limit_usd"],
        only_tier=Tier.objects.get(pk=name) if which == "tier" else None,
        only_model=LlmModel.objects.get(name=name) if which == "model" else None,
        allocation=Allocation(entered["allocation"]),
        overcommit_ratio=entered["overcommit_ratio"] or Decimal(1),
        roll_over=RollOver(entered["roll_over"]),
        alert_percents=entered["alert_percents"],
        reason=entered["reason"],
    )


def _place(request: PersonRequest, neighbours: Neighbours, entered: dict[str, Any]) -> ScopePlace:
    """Return the scope that was chosen, or the key that is part of it. Raises InvalidInputError."""
    kind, _, known = entered["scope"].partition(":")
    find_key = neighbours.keys.find
    chosen = ScopeKind(kind)
    scope_id = find_scope(request.user, chosen, known or None, find_key=find_key)
    if not entered["key"]:
        return selectors.scope_place(chosen, scope_id)
    key_id = find_scope(request.user, ScopeKind.KEY, entered["key"], find_key=find_key, field="key")
    place = selectors.scope_place(ScopeKind.KEY, key_id)
    if (chosen, scope_id) not in place.chain:
        raise InvalidInputError("This key is not part of what you chose above.", field="key")
    return place


def _filters() -> list[tuple[str, str]]:
    """Return the tiers and models that a budget can be for. Two queries."""
    tiers = [(f"tier:{tier.pk}", f"{tier} only") for tier in Tier.objects.order_by("pk")]
    names = LlmModel.objects.order_by("name").values_list("name", flat=True)
    return [*tiers, *((f"model:{name}", f"{name} only") for name in names)]


def _handed_out(row: BudgetRow) -> str:
    """Say how much of the limit the budgets below have. Three queries."""
    around = selectors.neighbourhood(row.place, row.window)
    node = next(each for each in around if each.id == row.id)
    usd = handed_out(node, around, clock.now())
    return f"The budgets right below it add up to {format_usd(usd)}; it has {format_usd(row.limit_usd)}."


def _consequences(row: BudgetRow, others: int) -> list[str]:
    bound = (
        "No other limit binds its calls." if not others else f"{others} other limits still bind its calls."
    )
    if others == 1:
        bound = "One other limit still binds its calls."
    return [
        "Its calls are no longer refused or counted by it from the next call on.",
        bound,
        f"The {format_usd(row.spent_usd)} that is spent stays in the books.",
        "It cannot be opened again; another one starts at nothing spent.",
    ]
