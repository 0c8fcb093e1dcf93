"""What the pages of one budget share: finding it, naming keys, sending a form, asking to confirm."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.forms import Form
from django.http import HttpResponse
from django.shortcuts import redirect, render

from budgets import selectors
from budgets.authority import Powers, powers
from budgets.errors import BudgetExistsError, NeedsConfirmationError
from budgets.forms import ReasonOnlyForm, confirming
from budgets.models import ScopeKind
from budgets.ports import Expected, Neighbours
from budgets.types import BudgetRow
from budgets.views.lines import BudgetLine, budget_line
from core.errors import InvalidInputError
from teams.errors import RoleNeededError
from teams.selectors import roles_of
from teams.types import PersonRequest

# A service names its arguments as the business does; a form has fields that people can fill in.
FIELDS = {
    "amount_usd": "limit_usd",
    "valid_from": "starts_on",
    "valid_until": "ends_on",
    "window_anchor": "week_start",
    "scope_id": "scope",
    "only_tier": "only",
    "only_model": "only",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FormPage:
    """A page with one form about one budget; `room_text` says how much there is room for, and why."""

    title: str
    text: str
    url: str
    submit_text: str
    cancel_url: str
    room_label: str = "You may set up to"
    room_text: str = ""
    ask_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmText:
    """What a page asks before a limit refuses calls."""

    title: str
    submit_text: str


def find(request: PersonRequest, neighbours: Neighbours, public_id: str) -> BudgetRow:
    """Return a budget that the person may see. Two queries."""
    request.roles_held = roles_of(request.user)
    visible = neighbours.keys.visible_ids(request.user)
    return selectors.find_budget(request.user, public_id, key_ids=visible, roles=request.roles_held)


def line_of(
    request: PersonRequest, neighbours: Neighbours, row: BudgetRow, forecast: Expected | None = None
) -> BudgetLine:
    """Return a budget as people read it; one of a key with what the key is called."""
    key_ids = [row.scope_id] if row.scope_kind is ScopeKind.KEY else []
    return budget_line(row, names_of_keys(request, neighbours, key_ids), forecast)


def names_of_keys(
    request: PersonRequest, neighbours: Neighbours, key_ids: Collection[int]
) -> Mapping[int, str]:
    """Return what the keys are called, of those that the person may see."""
    return neighbours.key_labels(request.user, key_ids) if key_ids else {}


def powers_here(request: PersonRequest, row: BudgetRow, refusal: str) -> Powers:
    """Return what the person may do here. Raises RoleNeededError when that is nothing."""
    may = powers(request.user, row.place, roles=request.roles_held)
    if not may.may_change:
        raise RoleNeededError(f"{refusal} Ask {may.who_may}.")
    return may


def form_page(
    request: PersonRequest,
    neighbours: Neighbours,
    *,
    page: FormPage,
    form: Form,
    act: Callable[[dict[str, Any]], str],
    line: BudgetLine | None = None,
    confirm: ConfirmText | None = None,
) -> HttpResponse:
    """Show a form, or do what it asks for and go to where it leads; `act` returns what was done.

    What is refused is said at its field, with the entries kept.
    """
    if request.method == "POST" and form.is_valid():
        try:
            done = act(form.cleaned_data)
        except NeedsConfirmationError as error:
            assert confirm is not None
            form = confirming(type(form)(initial={**request.POST.dict(), "confirm": "yes"}))
            shown = {"confirm": _confirmation(request, neighbours, page, confirm, error), "form": form}
            return render(request, "confirm.html", shown, status=error.status)
        except (InvalidInputError, BudgetExistsError) as error:
            form.add_error(_field(form, error.field), _explained(request, neighbours, error))
        else:
            messages.success(request, done)
            return redirect(page.cancel_url)
    context = {"page": page, "form": form, "budget": line}
    return render(request, "budgets/form.html", context, status=422 if form.errors else 200)


def confirm_page(
    request: PersonRequest,
    neighbours: Neighbours,
    *,
    confirm: Mapping[str, Any],
    act: Callable[[str], str],
    done_url: str,
) -> HttpResponse:
    """Ask why before something ends, then end it; `act` takes the reason and returns what was done."""
    form = ReasonOnlyForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            done = act(form.cleaned_data["reason"])
        except InvalidInputError as error:
            form.add_error(_field(form, error.field), _explained(request, neighbours, error))
        else:
            messages.success(request, done)
            return redirect(done_url)
    status = 422 if form.errors else 200
    return render(request, "confirm.html", {"confirm": confirm, "form": form}, status=status)


def _field(form: Form, name: str | None) -> str | None:
    candidates = (name, FIELDS.get(name or ""))
    return next((each for each in candidates if each in form.fields), None)


def _explained(
    request: PersonRequest, neighbours: Neighbours, error: InvalidInputError | BudgetExistsError
) -> str:
    """Return the refusal with the name of the key whose limit is in the way, if it is one's."""
    names = names_of_keys(request, neighbours, getattr(error, "key_ids", ()))
    return " ".join([error.detail, *(f"It is {name}." for name in names.values())])


def _confirmation(
    request: PersonRequest,
    neighbours: Neighbours,
    page: FormPage,
    text: ConfirmText,
    error: NeedsConfirmationError,
) -> dict[str, Any]:
    keys = sorted(names_of_keys(request, neighbours, error.key_ids).values())
    return {
        "title": text.title,
        "text": error.detail,
        "consequences": [f"Calls with {key} are refused with 429." for key in keys],
        "url": page.url,
        "submit_text": text.submit_text,
        "cancel_url": page.cancel_url,
    }
