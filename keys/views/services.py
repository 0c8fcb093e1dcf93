"""Service accounts: which there are, who answers for each, and handing one over."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from core.errors import InvalidInputError, NotFoundError
from keys import services
from keys.forms import HandOverForm
from keys.selectors import services_seen_by
from teams.models import Role, User
from teams.selectors import require_admin, roles_of
from teams.types import PersonRequest


@require_safe
def list_services(request: PersonRequest) -> HttpResponse:
    """List the services that the person answers for; administrators and auditors see all. Two queries."""
    accounts = services_seen_by(request.user).order_by("user__name", "pk")
    opens = Role.ADMIN in roles_of(request.user).organisation_wide
    return render(request, "keys/services.html", {"accounts": list(accounts), "opens_services": opens})


@require_http_methods(["GET", "HEAD", "POST"])
def hand_over_service(request: PersonRequest, public_id: str) -> HttpResponse:
    """Say what ends and ask who answers for a service from now on; on POST hand it over."""
    account = services_seen_by(request.user).filter(user__public_id=public_id).first()
    if account is None:
        raise NotFoundError("There is no such service, or it is not one of yours.")
    if account.responsible_id != request.user.pk:
        require_admin(request.user, "say who answers for this service")
    form = HandOverForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        responsible = User.objects.filter(email=form.cleaned_data["responsible"].lower()).first()
        try:
            if responsible is None:
                raise InvalidInputError("There is nobody with this address.", field="responsible")
            services.hand_over_service(actor=request.user, account=account, responsible=responsible)
        except InvalidInputError as error:
            form.add_error(error.field if error.field in form.fields else None, error.detail)
        else:
            messages.success(request, f"{responsible} answers for {account} from now on.")
            return redirect("keys:services")
    confirm = {
        "title": f"Who answers for {account}?",
        "text": f"{account.responsible} answers for it now.",
        "consequences": (
            "Its API tokens end, because the person before knows their secrets.",
            "Its teams and roles stay. The person after makes new tokens.",
        ),
        "url": reverse("keys:hand_over", args=[public_id]),
        "submit_text": "Hand it over",
        "cancel_url": reverse("keys:services"),
        "cancel_text": "Leave it as it is",
    }
    return render(
        request, "confirm.html", {"form": form, "confirm": confirm}, status=422 if form.errors else 200
    )
