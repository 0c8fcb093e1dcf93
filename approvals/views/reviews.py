"""The access review: what is hardly used, with one click to keep it and one to end it."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from approvals import services
from approvals.reviews import LOOKED_BACK, RARELY, unused_grants, unused_rows
from core.errors import AlreadyDoneError, NotFoundError
from teams.types import PersonRequest


@require_safe
def review_access(request: PersonRequest) -> HttpResponse:
    """List the access of others that hardly anybody uses. Opening the page keeps and ends nothing."""
    context = {"unused": unused_grants(request.user), "days": LOOKED_BACK.days, "rarely": RARELY}
    return render(request, "approvals/review.html", context)


@require_POST
def review_one(request: PersonRequest, public_id: str) -> HttpResponse:
    """Keep or end one grant of the list, by the button that was pressed."""
    grant = unused_rows(request.user).filter(public_id=public_id).first()
    if grant is None:
        raise NotFoundError(
            "This access is not there for you to review: somebody reviewed it, or it is used again."
        )
    keeps = "keep" in request.POST
    try:
        services.review_grant(actor=request.user, grant=grant, keeps=keeps)
    except AlreadyDoneError as error:
        messages.error(request, error.detail)
    else:
        said = "is kept. It is asked about again in 30 days." if keeps else "has ended. The key stays."
        messages.success(request, f"{grant} {said}")
    return redirect("approvals:review")
