"""A request as its requester reads it: where it stands, who decides, and the key when there is one."""

from dataclasses import replace

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from approvals.cases import Case
from approvals.models import AccessRequest, RequestKind, RequestStatus
from approvals.rules import missing_in
from approvals.selectors import last_decision
from approvals.views.shapes import Answer, Costs, KeyCard, case_view
from keys.models import ApiKey, KeyState
from keys.selectors import state_in_words
from teams.models import User
from teams.types import PersonRequest
from usage.selectors import key_use


def own_page(
    request: PersonRequest, case: Case, costs: Costs, *, waiting: int, status: int = 200
) -> HttpResponse:
    """Return the requester's page; `waiting` is how many requests wait for him to decide."""
    asked = case.request
    view = replace(
        case_view(case, costs),
        answer=answer_of(asked) or _needed(case),
        key=_key_card(asked.key, request.user) if asked.key else None,
        answers_offers=True,
        extend_url=_extend_url(asked, request.user),
    )
    context = {"case": view, "approvals_waiting": waiting}
    return render(request, "approvals/request.html", context, status=status)


def _extend_url(asked: AccessRequest, user: User) -> str:
    """Return where more time is asked for, when the request's grant is active and its key outlives it."""
    if not asked.granted_until or asked.beneficiary_id != user.pk or not asked.key:
        return ""
    if asked.kind == RequestKind.BREAK_GLASS:
        return ""
    grant = asked.extendable_grant
    return reverse("approvals:extend", args=[grant]) if grant else ""


def answer_of(asked: AccessRequest) -> Answer | None:
    """Return how a request ended; None while it waits."""
    decision = last_decision(asked)
    match asked.state:
        case RequestStatus.APPROVED:
            title = f"{decision.actor} approved it." if decision else "The rule of its policy extended it."
            return Answer(tone="ok", title=title, text=decision.comment if decision else "")
        case RequestStatus.DENIED if decision:
            return Answer(tone="bad", title=f"{decision.actor} denied it.", text=decision.comment)
        case RequestStatus.WITHDRAWN:
            return Answer(tone="info", title=f"{asked.requester} withdrew it.", text="You can ask again.")
        case RequestStatus.EXPIRED:
            return Answer(tone="warn", title="Nobody decided it in time.", text="You can ask again.")
        case RequestStatus.CLOSED:
            return Answer(tone="info", title="It was closed.", text=asked.closed_reason)
        case _:
            return None


def _needed(case: Case) -> Answer | None:
    """Return what a request needs before anybody can approve it, and what it is given less than was asked
    for; None where it has all, or is over.
    """
    missing = missing_in(case.request)
    if case.request.state is not RequestStatus.PENDING:
        return None
    less = "\n".join(case.lowered)
    if not missing:
        return Answer(tone="info", title="The rules became stricter.", text=less) if less else None
    text = "The rules became stricter. Change your request: until then nobody can approve it."
    return Answer(tone="warn", title=f"It needs {missing}.", text=f"{text}\n{less}".strip())


def _key_card(key: ApiKey, user: User) -> KeyCard:
    use = key_use([key.pk]).get(key.pk)
    waits = key.state is KeyState.AWAITING_REVEAL and key.owner_id == user.pk
    return KeyCard(
        name=key.name,
        state=state_in_words(key),
        masked=key.masked,
        expires_at=key.expires_at,
        last_used_on=use.last_day if use else None,
        url=reverse("keys:list"),
        reveal_url=reverse("keys:reveal", args=[key.public_id]) if waits else "",
    )
