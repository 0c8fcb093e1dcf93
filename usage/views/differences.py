"""One difference: what both sides say, and what is done about it."""

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib import messages
from django.forms import Form
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from catalog.models import Context
from core.errors import InvalidInputError
from teams.models import RoleAssignment, User
from teams.types import PersonRequest
from usage import services
from usage.forms.reconciliation import AssignForm, ResolveForm
from usage.models import Discrepancy, DiscrepancyClass, DiscrepancyState, Level
from usage.ports import SourceNames
from usage.selectors import reconciliation
from usage.services.reconciliation.resolving import KEEPERS, require_keeper
from usage.views.access import require_books
from usage.views.lines import EXPLANATIONS, difference_url, run_url, side_words, source_words, state_tone

ACTS: Mapping[str, Callable[..., Discrepancy]] = {
    "explain": services.explain,
    "accept": services.accept,
    "correct": services.correct,
    "confirm_price": services.confirm_price,
}
DONE = {
    "explain": "The difference is explained.",
    "accept": "The difference is accepted.",
    "correct": "The ledger follows: entries, usage and balances were moved.",
    "confirm_price": "The price is confirmed: it is entered where it says here. One that moves by more than"
    " 20 % waits under Prices for a second administrator.",
}
FOLLOWED = {
    DiscrepancyClass.MISSING_AT_PORTAL: "The call is booked late, in its own window, on its budgets.",
    DiscrepancyClass.DUPLICATE: "The second booking is taken back, on the budgets that paid for it.",
    DiscrepancyClass.TOKEN_MISMATCH: "The difference is booked where the calls stand, on their budgets.",
    DiscrepancyClass.PRICE_MISMATCH: "The difference is booked where the call stands, on its budgets.",
    DiscrepancyClass.ZERO_COST: "The call is charged at our price, on its budgets.",
}
NOT_OF_CALLS = {DiscrepancyClass.TOKEN_MISMATCH}


@require_safe
def show_difference(request: PersonRequest, public_id: str, *, names_of_sources: SourceNames) -> HttpResponse:
    """Show a difference, with the forms of those who may act on it."""
    require_books(request)
    found = reconciliation.find_difference(public_id)
    form = ResolveForm(acts=_acts(found))
    return render(request, "usage/difference.html", _context(request, found, form, names_of_sources))


@require_POST
def resolve_difference(
    request: PersonRequest, public_id: str, *, names_of_sources: SourceNames
) -> HttpResponse:
    """Explain or accept a difference, or let the ledger follow."""
    require_books(request)
    found = reconciliation.find_difference(public_id)
    require_keeper(request.user, "close differences")
    form = ResolveForm(request.POST, acts=_acts(found))
    if form.is_valid() and _did(request, form, found):
        return redirect(difference_url(found))
    context = _context(request, found, form, names_of_sources)
    return render(request, "usage/difference.html", context, status=422)


@require_POST
def assign_difference(request: PersonRequest, public_id: str) -> HttpResponse:
    """Say who looks after a difference."""
    require_books(request)
    found = reconciliation.find_difference(public_id)
    form = AssignForm(request.POST, people=_people())
    owner = None
    if form.is_valid() and form.cleaned_data["owner"]:
        owner = User.objects.get(public_id=form.cleaned_data["owner"])
    services.assign(actor=request.user, discrepancy=found, owner=owner)
    messages.success(request, f"{owner.name if owner else 'Nobody'} looks after this difference.")
    return redirect(difference_url(found))


def _did(request: PersonRequest, form: ResolveForm, found: Discrepancy) -> bool:
    act, reason = form.cleaned_data["act"], form.cleaned_data["reason"]
    try:
        ACTS[act](actor=request.user, discrepancy=found, reason=reason)
    except InvalidInputError as error:
        form.add_error(error.field if error.field in form.fields else None, error.detail)
        return False
    messages.success(request, DONE[act])
    return True


def _acts(found: Discrepancy) -> list[str]:
    """Return what can be done about a difference."""
    acts = ["explain", "accept"]
    kind = DiscrepancyClass(found.kind)
    is_of_calls = found.run.level == Level.CALLS
    of_volumes = found.run.level == Level.VOLUMES and kind in NOT_OF_CALLS
    if kind in FOLLOWED and (is_of_calls or of_volumes):
        acts.append("correct")
    if found.proposal:
        acts.append("confirm_price")
    return acts


def _people() -> list[tuple[str, str]]:
    """Return who may look after differences. One query."""
    rows = (
        RoleAssignment.objects.live()
        .filter(role__in=KEEPERS, user__is_active=True)
        .values_list("user__public_id", "user__name")
        .distinct()
        .order_by("user__name")
    )
    return list(rows)


def _context(
    request: PersonRequest, found: Discrepancy, form: Form, names_of_sources: SourceNames
) -> dict[str, Any]:
    names = reconciliation.names_with(names_of_sources())
    may_act = bool(set(KEEPERS) & request.roles_held.organisation_wide)
    owner = {"owner": found.owner.public_id} if found.owner else {}
    return {
        "difference": found,
        "status": state_tone(found),
        "explanation": EXPLANATIONS[DiscrepancyClass(found.kind)],
        "level": Level(found.run.level).label,
        "other_side": "Gateway" if found.run.level == Level.CALLS else "Provider",
        "source": source_words(found.run, names),
        "run_url": run_url(found.run),
        "ours": side_words(found.detail, ("portal", "ours_usd")),
        "theirs": side_words(found.detail, ("gateway", "provider", "theirs_usd")),
        "models": found.detail.get("models"),
        "proposal": _proposal(found),
        "place": _place(found.proposal) if found.proposal else "",
        "corrections": reconciliation.corrections_of(found),
        "followed": FOLLOWED.get(DiscrepancyClass(found.kind), "") if "correct" in _acts(found) else "",
        "form": form if may_act and found.state == DiscrepancyState.OPEN else None,
        "assign": AssignForm(initial=owner, people=_people()) if may_act else None,
    }


def _place(proposal: Mapping[str, Any]) -> str:
    """Say where a confirmed price is entered, and what the figures do not tell."""
    context, step = Context(proposal.get("context", Context.STANDARD)), proposal.get("tier_start", 0)
    others = [Context(name).label.lower() for name in proposal.get("others", ())]
    from_step = f", for calls of {step:,} input tokens and more" if step else ""
    said = [f"Confirmed, they are entered in the service class {context.label.lower()}{from_step}."]
    if others:
        said.append(
            f"The model was used in the {' and '.join(others)} class too, and the money is not told by class:"
            " those prices stay as they are. Look at them under Prices."
        )
    if above := proposal.get("steps_above"):
        steps = " and ".join(f"{each:,}" for each in above)
        said.append(f"Calls of {steps} input tokens and more keep their own price.")
    return " ".join(said)


def _proposal(found: Discrepancy) -> list[dict[str, str]]:
    prices = (found.proposal or {}).get("prices", {})
    return [{"unit": unit.replace("_", " "), **price} for unit, price in sorted(prices.items())]
