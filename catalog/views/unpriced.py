"""Models that nobody priced: refused calls as work for an administrator."""

from dataclasses import dataclass
from datetime import datetime

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from catalog import services
from catalog.forms import FreeForm, PriceForm
from catalog.models import LlmModel, Mode, UnpricedCall
from catalog.selectors import model_by_id, unpriced_models
from core.errors import InvalidInputError
from teams.models import Role
from teams.selectors import require_admin, roles_of
from teams.types import PersonRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpricedRow:
    """A model without a price in force, and how often it was asked for in vain."""

    name: str
    provider: str
    mode: str
    tier: str
    calls: int
    first_at: datetime | None
    last_at: datetime | None
    price_url: str
    free_url: str


@require_safe
def list_unpriced(request: PersonRequest) -> HttpResponse:
    """List the models that are refused because no price is in force, the most wanted first."""
    _require_admin(request)
    rows = [_row(model) for model in unpriced_models()]
    rows.sort(key=lambda row: (-row.calls, row.name))
    return render(request, "catalog/unpriced.html", {"rows": rows})


@require_http_methods(["GET", "HEAD", "POST"])
def enter_prices(request: PersonRequest, public_id: str) -> HttpResponse:
    """Ask for the prices of one model; on POST put them in force."""
    _require_admin(request)
    model = model_by_id(public_id)
    form = PriceForm(request.POST or None, mode=Mode(model.mode))
    if request.method == "POST" and form.is_valid():
        try:
            services.enter_prices(
                actor=request.user,
                model=model,
                usd_per_unit=form.usd_per_unit(),
                reason=form.cleaned_data["reason"],
            )
        except InvalidInputError as error:
            form.add_error(error.field if error.field in form.fields else None, error.detail)
        else:
            messages.success(request, f"{model} has a price, in force on the next call.")
            return redirect("unpriced")
    context = {"model": _row(model), "form": form}
    return render(request, "catalog/price.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
def declare_free(request: PersonRequest, public_id: str) -> HttpResponse:
    """Say what a free model means and ask for a reason; on POST declare it free."""
    _require_admin(request)
    model = model_by_id(public_id)
    form = FreeForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        services.declare_free(actor=request.user, model=model, reason=form.cleaned_data["reason"])
        messages.success(request, f"{model} is declared free, in force on the next call.")
        return redirect("unpriced")
    confirm = {
        "title": f"Declare {model} free?",
        "consequences": (
            f"Whoever may call {model.tier} may call {model}, also when the budget is gone.",
            "Its calls are counted and charged at nothing.",
        ),
        "url": reverse("declare_free", args=[model.public_id]),
        "submit_text": "Declare it free",
        "cancel_url": reverse("unpriced"),
    }
    return render(
        request, "confirm.html", {"confirm": confirm, "form": form}, status=422 if form.errors else 200
    )


def _require_admin(request: PersonRequest) -> None:
    request.roles_held = roles_of(request.user)
    if Role.ADMIN not in request.roles_held.organisation_wide:
        require_admin(request.user, "price models")


def _row(model: LlmModel) -> UnpricedRow:
    wanted: UnpricedCall | None = getattr(model, "unpriced", None)
    return UnpricedRow(
        name=model.name,
        provider=model.get_provider_display(),
        mode=model.get_mode_display(),
        tier=str(model.tier),
        calls=wanted.calls if wanted else 0,
        first_at=wanted.first_at if wanted else None,
        last_at=wanted.last_at if wanted else None,
        price_url=reverse("enter_prices", args=[model.public_id]),
        free_url=reverse("declare_free", args=[model.public_id]),
    )
