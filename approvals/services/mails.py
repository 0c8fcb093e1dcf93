"""What is told to whom. Rows of the outbox, written with the change; the key makes each message unique."""

from collections.abc import Iterable

from django.urls import reverse

from approvals.models import AccessRequest, BudgetRequest
from approvals.services.asking import model_names
from core import outbox
from core.money import format_usd
from teams.models import User


def tell_approvers(request: AccessRequest, people: Iterable[User]) -> None:
    """Tell everybody who may decide the current stage, once a person, revision and stage."""
    models = ", ".join(model_names(request.model_ids)) or f"every model of {request.tier}"
    body = (
        f"{request.requester} asks for {request.tier} in project {request.project}: {models},"
        f" about {format_usd(request.expected_monthly_usd)} a month, for {request.duration_days} days.\n\n"
        f"{request.reason}\n\nDecide by {request.decide_by:%d %B %Y at %H:%M} UTC."
        " Opening the page decides nothing."
    )
    for person in people:
        _mail(
            request,
            person,
            event=f"waiting:{request.revision}:{request.stage_index}",
            subject=f"{request.requester} asks for {request.tier} in {request.project}",
            body=body,
        )


def tell_requester(request: AccessRequest, *, subject: str, body: str) -> None:
    """Tell the requester how his request ended, once."""
    _mail(
        request,
        request.requester,
        event=request.status,
        subject=subject,
        body=body,
    )


def _mail(request: AccessRequest, person: User, *, event: str, subject: str, body: str) -> None:
    outbox.put_mail(
        topic=f"request.{event.split(':', maxsplit=1)[0]}",
        recipient=person.email,
        dedupe_key=f"request:{request.public_id}:{event}:{person.public_id}",
        subject=subject,
        body=body,
        link=reverse("approvals:detail", args=[request.public_id]),
    )


def mail_about_budget(request: BudgetRequest, person: User, *, event: str, subject: str, body: str) -> None:
    """Tell somebody about a request for more budget, once an event and person."""
    outbox.put_mail(
        topic=f"budget_increase.{event.split(':', maxsplit=1)[0]}",
        recipient=person.email,
        dedupe_key=f"budget_increase:{request.public_id}:{event}:{person.public_id}",
        subject=subject,
        body=body,
        link=reverse("approvals:budget_request", args=[request.public_id]),
    )
