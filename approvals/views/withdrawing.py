"""The requester takes his request back."""

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from approvals import selectors, services
from approvals.cases import case_of
from approvals.errors import AlreadyDecidedError
from approvals.models import AccessRequest, RequestStatus
from approvals.selectors import View
from approvals.services.withdrawing import require_requester, require_withdrawable
from approvals.views.own import own_page
from approvals.views.reading import costs_of, detail_url
from core.errors import GoneError
from teams.types import PersonRequest


@require_http_methods(["GET", "HEAD", "POST"])
def withdraw_request(request: PersonRequest, public_id: str) -> HttpResponse:
    """Say what follows; on POST withdraw the request. One decided meanwhile says by whom and when."""
    asked = selectors.find(request.user, public_id)
    require_requester(request.user, asked)
    if request.method == "POST":
        return _withdraw(request, asked)
    if asked.state is not RequestStatus.PENDING:
        return redirect(detail_url(asked))
    require_withdrawable(asked)
    deciders = ", ".join(case_of(request.user, asked).deciders)
    confirm = {
        "title": f"Withdraw the request {asked}?",
        "text": "",
        "consequences": (
            f"Nobody can decide it any more. It waits for {deciders or 'nobody'} now.",
            "It stays on record as withdrawn.",
            "You can ask again at any time.",
        ),
        "url": reverse("approvals:withdraw", args=[public_id]),
        "submit_text": "Withdraw the request",
        "cancel_url": detail_url(asked),
        "cancel_text": "Keep the request",
    }
    return render(request, "confirm.html", {"confirm": confirm, "form": forms.Form()})


def _withdraw(request: PersonRequest, asked: AccessRequest) -> HttpResponse:
    try:
        services.withdraw(actor=request.user, request=asked)
    except (AlreadyDecidedError, GoneError) as error:
        messages.error(request, error.detail)
        inbox = selectors.inbox(request.user)
        case = case_of(request.user, selectors.find(request.user, asked.public_id), holders=inbox.holders())
        waiting = inbox.counts[View.WAITING]
        return own_page(request, case, costs_of(case), waiting=waiting, status=error.status)
    messages.success(request, f"{asked} is withdrawn.")
    return redirect(detail_url(asked))
