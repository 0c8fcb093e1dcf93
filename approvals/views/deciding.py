"""The approver's answer. Every refusal comes back to the inbox with what was entered and what to do."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from approvals import selectors, services
from approvals.cases import case_of, stage_text
from approvals.errors import (
    AlreadyDecidedError,
    BeneficiaryLeftError,
    ChangedSinceReadError,
    ChangeNeededError,
    NotEligibleError,
)
from approvals.forms import DecideForm
from approvals.models import AccessRequest, RequestKind, RequestStatus, Verdict
from approvals.selectors import View
from approvals.views.reading import detail_url, inbox_of, inbox_page, offer_form, query_of, view_of
from approvals.views.shapes import Change, Outcome
from core.errors import DomainError, GoneError, InvalidInputError
from core.money import format_usd
from teams.selectors import role_holders
from teams.types import PersonRequest

# The answers that leave the request as it is; some of them can be decided after reading again.
READ_AGAIN = (BeneficiaryLeftError, ChangedSinceReadError, ChangeNeededError)
REFUSALS = (*READ_AGAIN, AlreadyDecidedError, NotEligibleError, GoneError)
LABELS = {
    "models": "Models",
    "duration_days": "Days",
    "expected_monthly_usd": "Expected a month",
    "reason": "Reason",
    "policy": "Policy",
    "limit_usd": "Limit",
    "until": "Until",
    "team": "Team",
}


@require_http_methods(["GET", "HEAD", "POST"])
def decide_request(request: PersonRequest, public_id: str) -> HttpResponse:
    """Count the person's verdict. Following a link here decides nothing: it opens the request."""
    asked = selectors.find(request.user, public_id)
    if request.method != "POST":
        return redirect(detail_url(asked, query_of(request, view_of(request))))
    form = DecideForm(request.POST, expected_usd=asked.expected_monthly_usd, longest_days=asked.duration_days)
    verdict = request.POST.get("verdict", "")
    if verdict not in Verdict.values:
        form.add_error(None, "Press Approve or Deny.")
    if not form.is_valid():
        return _ask_again(request, asked, form)
    try:
        outcome = services.decide(
            actor=request.user, request=asked, verdict=Verdict(verdict), **form.cleaned_data
        )
    except InvalidInputError as error:
        form.add_error(error.field if error.field in form.fields else None, error.detail)
        return _ask_again(request, asked, form)
    except REFUSALS as error:
        return _refused(request, asked, error)
    return _counted(request, outcome)


def _ask_again(request: PersonRequest, asked: AccessRequest, form: DecideForm) -> HttpResponse:
    """Return the case with the form as it was filled in and what is wrong with it (422)."""
    inbox = inbox_of(request)
    case = case_of(request.user, asked, holders=inbox.holders())
    outcome = None if case.may_decide else Outcome(tone="warn", title="Not decided", text=case.why_not)
    return inbox_page(request, inbox, case=case, form=form, outcome=outcome, status=422)


def _refused(request: PersonRequest, asked: AccessRequest, error: DomainError) -> HttpResponse:
    """Return why the verdict was not counted, and the request as it is now where it can still be decided."""
    inbox = inbox_of(request)
    can_read_again = isinstance(error, READ_AGAIN)
    entered = {name: request.POST.get(name, "") for name in ("monthly_cap_usd", "duration_days", "comment")}
    outcome = Outcome(
        tone="warn",
        title=error.title,
        text=error.detail,
        changes=changes_of(error),
        kept="" if can_read_again else entered["comment"].strip(),
        next_url="" if can_read_again else detail_url(asked, query_of(request, inbox.view)),
        next_text="" if can_read_again else "See the request",
    )
    if not can_read_again:
        return inbox_page(request, inbox, outcome=outcome, status=error.status)
    case = case_of(request.user, selectors.find(request.user, asked.public_id), holders=inbox.holders())
    form = offer_form(case, **entered)
    return inbox_page(request, inbox, case=case, form=form, outcome=outcome, status=error.status)


def _counted(request: PersonRequest, result: services.Outcome) -> HttpResponse:
    """Return what the verdict came to: beside the new list for htmx, by redirect otherwise."""
    title, text = _in_words(result)
    if not request.htmx:
        messages.success(request, f"{title}. {text}")
        return redirect(detail_url(result.request, query_of(request, view_of(request))))
    inbox = inbox_of(request)
    following = (
        next((each for each in inbox.rows if isinstance(each, AccessRequest)), None)
        if inbox.view is View.WAITING
        else None
    )
    outcome = Outcome(
        tone="ok",
        title=title,
        text=text,
        next_url=detail_url(following, query_of(request, inbox.view)) if following else "",
        next_text="Next request" if following else "",
    )
    return inbox_page(request, inbox, outcome=outcome)


def _in_words(result: services.Outcome) -> tuple[str, str]:
    asked = result.request
    match asked.status:
        case RequestStatus.APPROVED if asked.kind == RequestKind.BREAK_GLASS:
            return f"{asked} is approved", f"The access of {asked.beneficiary} lasts to its end."
        case RequestStatus.APPROVED if asked.extends_key:
            return (
                f"{asked} is approved",
                f"{asked.extends_key}, a key of {asked.beneficiary}, can call it now.",
            )
        case RequestStatus.APPROVED:
            return f"{asked} is approved", f"{asked.beneficiary} was told, and can reveal the key now."
        case RequestStatus.DENIED:
            return f"{asked} is denied", f"{asked.requester} was told why."
        case _:
            return f"Your approval of {asked} counts", f"{stage_text(asked, role_holders(asked.project))}."


def changes_of(error: DomainError | None) -> tuple[Change, ...]:
    """Return what a refusal says has changed since it was read."""
    difference: Mapping[str, Mapping[str, Any]] = error.extra.get("difference", {}) if error else {}
    return tuple(
        Change(
            label=LABELS.get(name, name),
            before=_say(name, values["before"]),
            after=_say(name, values["after"]),
        )
        for name, values in difference.items()
    )


def _say(name: str, value: Any) -> str:
    match name:
        case "expected_monthly_usd" | "limit_usd":
            return format_usd(Decimal(value))
        case "until":
            return f"{datetime.fromisoformat(value):%-d %B %Y, %H:%M} UTC" if value else "for good"
        case "models":
            return ", ".join(value) or "every model of the tier"
        case "policy":
            return "the rules then in force"
        case _:
            return str(value)
