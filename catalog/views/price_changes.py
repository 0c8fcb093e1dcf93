"""Changing prices: follow the list, enter one, end one, and the second person's word on what moves far."""

from django.contrib import messages
from django.forms import Form
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from catalog import services
from catalog.errors import StaleProposalError
from catalog.forms import EndPriceForm, OverrideForm, WhyForm
from catalog.models import Price, PriceProposal, ProposalState
from catalog.price_tables import find_model, per_text, shown_usd
from catalog.proposals import Move, moves_of
from catalog.views.prices import history_url
from core.errors import AlreadyDoneError, DomainError, InvalidInputError, NotFoundError
from teams.models import Role
from teams.selectors import require_admin, roles_of
from teams.types import PersonRequest

# A service names its arguments as the business does; a form has fields that people can fill in.
FIELDS = {
    "usd_per_unit": "usd",
    "valid_from": "starts_on",
    "valid_until": "ends_on",
    "ends_at": "ends_on",
}
WAITS = "It moves what calls are charged by more than 20%, so another administrator was asked to approve it."


@require_http_methods(["GET", "HEAD", "POST"])
def import_list(request: PersonRequest) -> HttpResponse:
    """Show what following the installed price list would do; on POST do it."""
    _require_admin(request, "import prices")
    if request.method == "POST":
        report = services.import_prices(actor=request.user)
        if report.waiting is not None:
            messages.warning(
                request, "Some prices move by more than 20%. Another administrator approves them."
            )
            return redirect("prices:proposal", report.waiting.public_id)
        messages.success(request, f"Prices follow list {report.version}.")
        return redirect("prices:list")
    report = services.import_prices(actor=request.user, dry_run=True)
    context = {
        "report": report,
        "quiet": [_shown(move) for move in report.moves_at_once],
        "loud": [_shown(move) for move in report.moves_to_approve],
    }
    return render(request, "catalog/prices/import.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def override(request: PersonRequest, public_id: str) -> HttpResponse:
    """Ask for a price of one model that beats the list; on POST enter it."""
    _require_admin(request, "enter prices")
    model = find_model(public_id)
    form = OverrideForm(request.POST or None, model=model)
    if request.method == "POST" and form.is_valid():
        try:
            proposal = services.override_price(
                actor=request.user,
                model=model,
                override=form.override(),
                reason=form.cleaned_data["reason"],
            )
        except InvalidInputError as error:
            _add_error(form, error)
        else:
            return _after(request, proposal, model.public_id)
    context = {
        "form": form,
        "title": f"Enter a price of {model}",
        "text": "It beats the list from its start to its end. Beyond 20% another administrator approves it.",
        "submit_text": "Enter the price",
        "cancel_url": history_url(model.public_id),
    }
    return render(request, "catalog/prices/form.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
def end(request: PersonRequest, public_id: str) -> HttpResponse:
    """Ask when and why a price ends that somebody entered; on POST end it."""
    _require_admin(request, "end prices")
    price = Price.objects.select_related("model").filter(public_id=public_id).first()
    if price is None:
        raise NotFoundError("There is no such price.")
    form = EndPriceForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            proposal = services.end_price(
                actor=request.user,
                price=price,
                ends_at=form.ends_at(),
                reason=form.cleaned_data["reason"],
            )
        except InvalidInputError as error:
            _add_error(form, error)
        else:
            return _after(request, proposal, price.model.public_id)
    context = {
        "form": form,
        "title": f"End the {price.get_source_display().lower()} price of {price.model}",
        "text": (
            f"{price.get_unit_display()}, {price.get_context_display().lower()} class. From then on calls are"
            " charged at the next best source. Calls of the past stay as they are."
        ),
        "submit_text": "End the price",
        "cancel_url": history_url(price.model.public_id),
    }
    return render(request, "catalog/prices/form.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
def show_proposal(request: PersonRequest, public_id: str) -> HttpResponse:
    """Show what a proposal would do; on POST approve it, or reject it with a reason."""
    _require_admin(request, "see what is proposed")
    rows = PriceProposal.objects.select_related("proposed_by", "ended_by")
    proposal = rows.filter(public_id=public_id).first()
    if proposal is None:
        raise NotFoundError("There is no such proposal.")
    form = WhyForm(request.POST if "reject" in request.POST else None)
    refusal: DomainError | None = None
    if request.method == "POST" and ("approve" in request.POST or form.is_valid()):
        try:
            said = _act(request, proposal, form)
        except (AlreadyDoneError, StaleProposalError) as error:
            refusal = error
            proposal.refresh_from_db()
        else:
            messages.success(request, said)
            return redirect("prices:list")
    context = {
        "proposal": proposal,
        "moves": [_shown(move) for move in moves_of(proposal.difference)],
        "is_open": proposal.state == ProposalState.WAITING,
        "may_approve": request.user.pk != proposal.proposed_by_id,
        "refusal": refusal,
        "form": form,
    }
    status = refusal.status if refusal else 422 if form.errors else 200
    return render(request, "catalog/prices/proposal.html", context, status=status)


def _act(request: PersonRequest, proposal: PriceProposal, form: WhyForm) -> str:
    if "approve" in request.POST:
        services.approve_prices(actor=request.user, proposal=proposal)
        return f"{proposal}: approved, and in force for the next call of its time."
    services.reject_prices(actor=request.user, proposal=proposal, reason=form.cleaned_data["reason"])
    return f"{proposal}: rejected. Nothing changed."


def _after(request: PersonRequest, proposal: PriceProposal, model_id: str) -> HttpResponse:
    if proposal.state == ProposalState.WAITING:
        messages.warning(request, WAITS)
        return redirect("prices:proposal", proposal.public_id)
    messages.success(request, f"{proposal}: it is written down, and calls of its time are charged by it.")
    return redirect(history_url(model_id))


def _shown(move: Move) -> dict[str, object]:
    return {
        "move": move,
        "unit": _label(move),
        "per": per_text(move.unit),
        "before": shown_usd(move.unit, move.before_usd),
        "after": shown_usd(move.unit, move.after_usd),
        "direction": _direction(move),
        "at": move.at,
    }


def _label(move: Move) -> str:
    step = f", from {move.tier_start:,} input tokens" if move.tier_start else ""
    return f"{move.unit.replace('_', ' ').capitalize()}, {move.context}{step}"


def _direction(move: Move) -> str:
    """Return by how much a price moves, in words."""
    if move.goes_away:
        return "Goes away"
    if move.before_usd is None or move.after_usd is None or move.share is None:
        return "New"
    sign = "+" if move.after_usd > move.before_usd else "\N{MINUS SIGN}"
    return f"{sign}{move.share:.1%}" if move.share.is_finite() else "Was free"


def _require_admin(request: PersonRequest, act: str) -> None:
    request.roles_held = roles_of(request.user)
    if Role.ADMIN not in request.roles_held.organisation_wide:
        require_admin(request.user, act)


def _add_error(form: Form, error: InvalidInputError) -> None:
    name = FIELDS.get(error.field or "", error.field)
    form.add_error(name if name in form.fields else None, error.detail)
