"""Pricing the past again: what it would correct, the second person's word, and how far it is booked."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from catalog.models import LlmModel
from core.errors import AlreadyDoneError, DomainError, InvalidInputError, NotFoundError, StaleError
from teams.selectors import require_admin, roles_of
from teams.types import PersonRequest
from usage import services
from usage.forms.repricing import RepricingForm, WhyForm
from usage.models import Repricing, RepricingState

TONES = {
    RepricingState.WAITING: "warn",
    RepricingState.RUNNING: "info",
    RepricingState.DONE: "ok",
    RepricingState.REJECTED: "",
}
SHOWN = 100


@require_safe
def list_repricings(request: PersonRequest) -> HttpResponse:
    """List what was priced again, the newest first."""
    _require_admin(request)
    rows = Repricing.objects.select_related("model", "proposed_by", "decided_by")[:SHOWN]
    context = {"rows": [{"row": row, "tone": TONES[RepricingState(row.state)]} for row in rows]}
    return render(request, "usage/repricings.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def new_repricing(request: PersonRequest) -> HttpResponse:
    """Ask for a model, days and a reason; on POST work out what would be corrected."""
    _require_admin(request)
    form = RepricingForm(request.POST or None, initial={"model": request.GET.get("model", "")})
    status = 200
    if request.method == "POST" and form.is_valid():
        starts_at, ends_at = form.period()
        try:
            repricing = services.propose_repricing(
                actor=request.user,
                model=LlmModel.objects.get(public_id=form.cleaned_data["model"]),
                starts_at=starts_at,
                ends_at=ends_at,
                reason=form.cleaned_data["reason"],
            )
        except (InvalidInputError, AlreadyDoneError) as error:
            field = getattr(error, "field", None)
            form.add_error(field if field in form.fields else None, error.detail)
            status = error.status
        else:
            messages.success(request, "This is what would be corrected. Another administrator approves it.")
            return redirect("prices:repricing", repricing.public_id)
    elif form.errors:
        status = 422
    return render(request, "usage/repricing_form.html", {"form": form}, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
def show_repricing(request: PersonRequest, public_id: str) -> HttpResponse:
    """Show what a repricing corrects, by team; on POST approve it, or reject it with a reason."""
    _require_admin(request)
    rows = Repricing.objects.select_related("model", "proposed_by", "decided_by")
    repricing = rows.filter(public_id=public_id).first()
    if repricing is None:
        raise NotFoundError("There is no such repricing.")
    form = WhyForm(request.POST if "reject" in request.POST else None)
    refusal: DomainError | None = None
    if request.method == "POST" and ("approve" in request.POST or form.is_valid()):
        try:
            said = _act(request, repricing, form)
        except (AlreadyDoneError, StaleError) as error:
            refusal = error
            repricing.refresh_from_db()
        else:
            messages.success(request, said)
            return redirect("prices:repricing", repricing.public_id)
    context = {
        "repricing": repricing,
        "tone": TONES[RepricingState(repricing.state)],
        "is_open": repricing.state == RepricingState.WAITING,
        "may_approve": request.user.pk != repricing.proposed_by_id,
        "refusal": refusal,
        "form": form,
    }
    status = refusal.status if refusal else 422 if form.errors else 200
    return render(request, "usage/repricing.html", context, status=status)


def _act(request: PersonRequest, repricing: Repricing, form: WhyForm) -> str:
    if "approve" in request.POST:
        services.approve_repricing(actor=request.user, repricing=repricing)
        return "Approved. The corrections are booked in the background; this page says how far they are."
    services.reject_repricing(actor=request.user, repricing=repricing, reason=form.cleaned_data["reason"])
    return "Rejected. Nothing changed."


def _require_admin(request: PersonRequest) -> None:
    request.roles_held = roles_of(request.user)
    require_admin(request.user, "price the past again")
