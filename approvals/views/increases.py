"""Asking for more of a budget, reading such a request, deciding and withdrawing it."""

from datetime import timedelta

from django import forms
from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from approvals import selectors, services
from approvals.errors import AlreadyAskedError, AlreadyDecidedError, ChangedSinceReadError
from approvals.forms import AmendIncreaseForm, DecideIncreaseForm, IncreaseForm
from approvals.forms.talking import CommentForm
from approvals.increases import increase_case
from approvals.models import BudgetRequest, RequestStatus, Verdict
from approvals.services.increases.asking import require_asker
from approvals.views.deciding import changes_of
from approvals.views.forms import FormPage, add_error, form_page
from approvals.views.shapes import due_of, earlier_increase, status_of
from budgets.models import Budget
from budgets.selectors import find_budget
from budgets.types import BudgetRow
from core.errors import DomainError, GoneError, InvalidInputError
from keys.models import ApiKey
from teams.selectors import roles_of
from teams.types import PersonRequest

# The answers that leave the request as it is, for whoever may see it.
REFUSALS = (AlreadyDecidedError, ChangedSinceReadError, GoneError)


@require_http_methods(["GET", "HEAD", "POST"])
def ask_for_budget(request: PersonRequest, public_id: str) -> HttpResponse:
    """Ask for more of a budget that the person may see; who decides follows from the amount."""
    request.roles_held = roles_of(request.user)
    keys = ApiKey.objects.visible_to(request.user).order_by().values_list("pk", flat=True)
    row = find_budget(request.user, public_id, key_ids=keys, roles=request.roles_held)
    form = IncreaseForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            asked = services.ask_increase(
                actor=request.user, budget=Budget.objects.get(pk=row.id), **form.cleaned_data
            )
        except InvalidInputError as error:
            form.add_error(error.field if error.field in form.fields else None, error.detail)
        except AlreadyAskedError as error:
            messages.error(request, error.detail)
            waits = error.extra.get("request")
            return redirect(_url(waits)) if waits else redirect("approvals:list")
        else:
            messages.success(request, "Your request is sent. You are told how it ends.")
            return redirect(_url(asked.public_id))
    context = {"budget": row, "window": _window(row), "form": form}
    status = 422 if form.errors else 200
    return render(request, "approvals/budget_ask.html", context, status=status)


@require_safe
def show_budget_request(request: PersonRequest, public_id: str) -> HttpResponse:
    """Show one request for more budget with the figures of this moment. Decides nothing."""
    asked = selectors.find_increase(request.user, public_id)
    return _page(request, asked, _decide_form(asked))


@require_http_methods(["GET", "HEAD", "POST"])
def decide_budget_request(request: PersonRequest, public_id: str) -> HttpResponse:
    """Count the person's verdict. Following a link here decides nothing: it opens the request."""
    asked = selectors.find_increase(request.user, public_id)
    if request.method != "POST":
        return redirect(_url(public_id))
    form = _decide_form(asked, request.POST)
    verdict = request.POST.get("verdict", "")
    if verdict not in Verdict.values:
        form.add_error(None, "Press Approve or Deny.")
    if not form.is_valid():
        return _page(request, asked, form, status=422)
    try:
        outcome = services.decide(actor=request.user, request=asked, verdict=Verdict(verdict), **form.offer())
    except InvalidInputError as error:
        form.add_error(error.field if error.field in form.fields else None, error.detail)
        return _page(request, asked, form, status=422)
    except REFUSALS as error:
        return _refused(request, public_id, error)
    messages.success(request, _in_words(outcome.request))
    return redirect(_url(public_id))


@require_http_methods(["GET", "HEAD", "POST"])
def withdraw_budget_request(request: PersonRequest, public_id: str) -> HttpResponse:
    """Say what follows; on POST take the person's own request back."""
    asked = selectors.find_increase(request.user, public_id)
    require_asker(request.user, asked)
    if request.method == "POST":
        try:
            services.withdraw_increase(actor=request.user, request=asked)
        except REFUSALS as error:
            return _refused(request, public_id, error)
        messages.success(request, f"{asked} is withdrawn.")
        return redirect(_url(public_id))
    if asked.state is not RequestStatus.PENDING:
        return redirect(_url(public_id))
    confirm = {
        "title": f"Withdraw the request {asked}?",
        "text": "",
        "consequences": (
            "Nobody can decide it any more, and the limit stays as it is.",
            "It stays on record as withdrawn.",
            "You can ask again at any time.",
        ),
        "url": reverse("approvals:withdraw_budget", args=[public_id]),
        "submit_text": "Withdraw the request",
        "cancel_url": _url(public_id),
        "cancel_text": "Keep the request",
    }
    return render(request, "confirm.html", {"confirm": confirm, "form": forms.Form()})


@require_http_methods(["GET", "HEAD", "POST"])
def amend_budget_request(request: PersonRequest, public_id: str) -> HttpResponse:
    """Change what a pending request of one's own asks for."""
    asked = selectors.find_increase(request.user, public_id)
    require_asker(request.user, asked)
    if asked.state is not RequestStatus.PENDING:
        messages.error(request, "This request is over. Ask again instead.")
        return redirect(_url(public_id))
    form = AmendIncreaseForm(request.POST or None, initial=_as_asked(asked))
    page = FormPage(
        title=f"Change the request: {asked}",
        text="Whoever decides it is told, and the time to decide starts anew.",
        url=reverse("approvals:amend_budget", args=[public_id]),
        submit_text="Change the request",
        cancel_url=_url(public_id),
    )
    if request.method != "POST" or not form.is_valid():
        return form_page(request, page, form)
    try:
        services.amend_increase(actor=request.user, request=asked, **form.cleaned_data)
    except InvalidInputError as error:
        add_error(form, error)
        return form_page(request, page, form)
    except REFUSALS as error:
        return form_page(request, page, form, refusal=error)
    messages.success(request, "Your request is changed. Whoever decides it was told.")
    return redirect(_url(public_id))


@require_http_methods(["GET", "HEAD", "POST"])
def comment_on_budget_request(request: PersonRequest, public_id: str) -> HttpResponse:
    """Ask or answer something about a request for more budget. Opening the address shows the form."""
    asked = selectors.find_increase(request.user, public_id)
    form = CommentForm(request.POST or None, tiers=())
    page = FormPage(
        title=f"About {asked}",
        text="It is kept with the request, and everybody who may see the request can read it.",
        url=reverse("approvals:comment_budget", args=[public_id]),
        submit_text="Send",
        cancel_url=_url(public_id),
    )
    if request.method != "POST" or not form.is_valid():
        return form_page(request, page, form)
    try:
        services.comment_increase(actor=request.user, request=asked, text=form.cleaned_data["text"])
    except InvalidInputError as error:
        add_error(form, error)
        return form_page(request, page, form)
    except REFUSALS as error:
        return form_page(request, page, form, refusal=error)
    messages.success(request, "It is sent.")
    return redirect(_url(public_id))


def _decide_form(
    asked: BudgetRequest, entered: QueryDict | None = None, **kept: object
) -> DecideIncreaseForm:
    """Return the form with what was asked for, or with what had been entered before."""
    wanted = _as_asked(asked)
    del wanted["reason"]
    return DecideIncreaseForm(entered, initial={**wanted, **kept}, ends=asked.until is not None)


def _as_asked(asked: BudgetRequest) -> dict[str, object]:
    return {
        "seen_revision": asked.revision,
        "limit_usd": f"{asked.limit_usd.normalize():f}",
        "until": (asked.until - timedelta(days=1)).date().isoformat() if asked.until else "",
        "reason": asked.reason,
    }


def _page(
    request: PersonRequest,
    asked: BudgetRequest,
    form: DecideIncreaseForm,
    *,
    refusal: DomainError | None = None,
    status: int = 200,
) -> HttpResponse:
    case = increase_case(request.user, asked)
    is_open = asked.state is RequestStatus.PENDING
    context = {
        "case": case,
        "asked": asked,
        "window": _window(case.row),
        "status": status_of(asked),
        "due": due_of(asked),
        "may_withdraw": is_open and request.user.pk == asked.requester_id,
        "form": form,
        "refusal": refusal,
        "changes": changes_of(refusal),
        "earlier": [earlier_increase(each) for each in case.earlier],
    }
    return render(request, "approvals/budget_request.html", context, status=status)


def _refused(request: PersonRequest, public_id: str, error: DomainError) -> HttpResponse:
    """Return why nothing was done, and the request as it is now."""
    asked = selectors.find_increase(request.user, public_id)
    form = _decide_form(asked, comment=request.POST.get("comment", ""))
    return _page(request, asked, form, refusal=error, status=error.status)


def _in_words(asked: BudgetRequest) -> str:
    if asked.status == RequestStatus.DENIED:
        return f"{asked} is denied. {asked.requester} was told why."
    return f"{asked} is approved, in force on the next call. {asked.requester} was told."


def _window(row: BudgetRow) -> str:
    return "in all" if row.resets_at is None else f"each {row.window_label.lower()}"


def _url(public_id: str) -> str:
    return reverse("approvals:budget_request", args=[public_id])
