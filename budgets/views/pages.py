"""Budgets: what may be spent, what is spent and held, what happens at the limit, and changing it."""

from collections.abc import Collection, Mapping

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from budgets import selectors
from budgets.authority import Authority, Slot, authority, may_change, who_may_change
from budgets.errors import NeedsConfirmationError
from budgets.forms import ConfirmLimitForm, LimitForm
from budgets.models import Budget, ScopeKind
from budgets.ports import Expected, Neighbours
from budgets.services.limits import change_limit
from budgets.types import BudgetRow
from budgets.views.lines import (
    MODE_TEXTS,
    BudgetFacts,
    BudgetLine,
    budget_groups,
    budget_line,
    notice,
    path_lines,
)
from core.errors import InvalidInputError
from core.money import format_usd
from teams.errors import RoleNeededError
from teams.selectors import roles_of
from teams.types import PersonRequest

# A service names its arguments as the business does; the form has one field for two of them.
FIELDS = {"amount_usd": "limit_usd", "reason": "reason"}


@require_safe
def list_budgets(request: PersonRequest, *, neighbours: Neighbours) -> HttpResponse:
    """List the budgets of what the person may see, the widest scope first."""
    request.roles_held = roles_of(request.user)
    visible = neighbours.keys.visible_ids(request.user)
    rows = selectors.list_budgets(request.user, key_ids=visible, roles=request.roles_held)
    names = _names(request, neighbours, [row.scope_id for row in rows if row.scope_kind is ScopeKind.KEY])
    groups = budget_groups(rows, names=names, forecasts=neighbours.forecasts(rows))
    return render(request, "budgets/list.html", {"groups": groups})


@require_safe
def show_budget(request: PersonRequest, public_id: str, *, neighbours: Neighbours) -> HttpResponse:
    """Show one budget: its window, every limit so far, and what else binds the same calls."""
    row = _find(request, neighbours, public_id)
    forecast = neighbours.forecasts([row]).get(row.id)
    context = {
        "budget": _line(request, neighbours, row, forecast),
        "facts": _facts(request, neighbours, row, forecast),
    }
    return render(request, "budgets/detail.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def change_budget(request: PersonRequest, public_id: str, *, neighbours: Neighbours) -> HttpResponse:
    """Change a limit; below what is spent and held only after a page that names the consequences."""
    row = _find(request, neighbours, public_id)
    allowed = _authority(request, row)
    line = _line(request, neighbours, row)
    form = LimitForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            return _change(request, row, line, form)
        except NeedsConfirmationError as error:
            return _confirmation(request, neighbours, line, error)
        except InvalidInputError as error:
            form.add_error(FIELDS.get(error.field or ""), _explained(request, neighbours, error))
    context = {"budget": line, "highest_text": _highest_text(allowed), "form": form}
    return render(request, "budgets/change.html", context, status=422 if form.errors else 200)


def _change(request: PersonRequest, row: BudgetRow, line: BudgetLine, form: LimitForm) -> HttpResponse:
    """Change the limit and go to the budget. Raises what `change_limit` raises."""
    limit_usd = form.cleaned_data["limit_usd"]
    change_limit(
        actor=request.user,
        budget=Budget.objects.get(pk=row.id),
        amount_usd=limit_usd,
        reason=form.cleaned_data["reason"],
        confirm="confirm" in request.POST,
    )
    limit = "no limit" if limit_usd is None else f"a limit of {format_usd(limit_usd)}"
    messages.success(request, f"{line.name} now has {limit} {line.window}, in force on the next call.")
    return redirect(line.url)


def _explained(request: PersonRequest, neighbours: Neighbours, error: InvalidInputError) -> str:
    """Return the refusal with the name of the key whose limit is in the way, if it is one's."""
    names = _names(request, neighbours, getattr(error, "key_ids", ()))
    return " ".join([error.detail, *(f"It is {name}." for name in names.values())])


def _confirmation(
    request: PersonRequest, neighbours: Neighbours, line: BudgetLine, error: NeedsConfirmationError
) -> HttpResponse:
    keys = sorted(_names(request, neighbours, error.key_ids).values())
    confirm = {
        "title": f"Lower the limit of {line.name} below what is spent?",
        "text": error.detail,
        "consequences": [f"Calls with {key} are refused with 429." for key in keys],
        "url": line.change_url,
        "submit_text": "Lower the limit",
        "cancel_url": line.url,
    }
    form = ConfirmLimitForm(initial={**request.POST.dict(), "confirm": "yes"})
    return render(request, "confirm.html", {"confirm": confirm, "form": form}, status=error.status)


def _find(request: PersonRequest, neighbours: Neighbours, public_id: str) -> BudgetRow:
    request.roles_held = roles_of(request.user)
    visible = neighbours.keys.visible_ids(request.user)
    return selectors.find_budget(request.user, public_id, key_ids=visible, roles=request.roles_held)


def _authority(request: PersonRequest, row: BudgetRow) -> Authority:
    """Return what the person may enter. Raises RoleNeededError when that is nothing."""
    slot = Slot(
        place=selectors.scope_place(row.scope_kind, row.scope_id),
        window=row.window,
        only_tier=row.only_tier,
        only_model_id=row.only_model_id,
    )
    allowed = authority(request.user, slot, current=row)
    if not allowed.may_change:
        raise RoleNeededError(f"You may not set this limit. Ask {allowed.who_may}.")
    return allowed


def _highest_text(allowed: Authority) -> str:
    if allowed.highest is None:
        return ""
    return f"{format_usd(allowed.highest.usd)}: {allowed.highest.why}. For more ask {allowed.who_may}."


def _line(
    request: PersonRequest, neighbours: Neighbours, row: BudgetRow, forecast: Expected | None = None
) -> BudgetLine:
    key_ids = [row.scope_id] if row.scope_kind is ScopeKind.KEY else []
    return budget_line(row, _names(request, neighbours, key_ids), forecast)


def _names(request: PersonRequest, neighbours: Neighbours, key_ids: Collection[int]) -> Mapping[int, str]:
    """Return what the keys are called, of those that the person may see."""
    return neighbours.key_labels(request.user, key_ids) if key_ids else {}


def _facts(
    request: PersonRequest, neighbours: Neighbours, row: BudgetRow, forecast: Expected | None
) -> BudgetFacts:
    place = selectors.scope_place(row.scope_kind, row.scope_id)
    visible_keys = neighbours.keys.visible_ids(request.user)
    seen = selectors.seen_by(request.user, key_ids=visible_keys, roles=request.roles_held)
    others = selectors.binding_with(row, place, seen=seen)
    return BudgetFacts(
        may_change=may_change(request.roles_held, place),
        notice=notice(row, forecast),
        in_force_since=row.in_force_since,
        forecast_usd=forecast.end_usd if forecast else None,
        mode_text=MODE_TEXTS[row.mode],
        window_starts_at=row.window_starts_at,
        who_may_change=who_may_change(place),
        tightest=selectors.tightest([row, *others]) == row,
        history=selectors.limit_history(row.id),
        path=path_lines(row, others),
    )
