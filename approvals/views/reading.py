"""The two panes: the requests that a person may see, and one of them with all that it takes to decide."""

from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe
from django_htmx.http import HttpResponseClientRedirect

from approvals import facts, selectors
from approvals.cases import Case, case_of
from approvals.forms import DecideForm
from approvals.models import AccessRequest, RequestStatus
from approvals.selectors import Inbox, View
from approvals.views.own import own_page
from approvals.views.shapes import Costs, Outcome, Row, case_view, row_of, row_of_increase
from approvals.views.together import fitting
from core.shapes import Tab, Tone
from teams.types import PersonRequest
from usage.selectors import forecast_budgets

TABS = {View.WAITING: "Waiting for me", View.TEAM: "Open", View.DECIDED: "Decided"}
EMPTY = {
    View.WAITING: ("Nothing waits for you", "Requests that you may decide appear here."),
    View.TEAM: (
        "Nothing is open",
        "Your own requests and those of your teams appear here until they are decided.",
    ),
    View.DECIDED: ("Nothing was decided yet", "Requests that are over stay here with their reasons."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxView:
    """The list on the left."""

    tabs: tuple[Tab, ...]
    rows: tuple[Row, ...]
    empty_title: str
    empty_text: str
    empty_url: str
    empty_action: str
    several: bool


@require_safe
def list_requests(request: PersonRequest) -> HttpResponse:
    """List what waits for the person, or with `?tab=` what is open or decided in his teams."""
    return inbox_page(request, selectors.inbox(request.user, view_of(request)))


@require_safe
def show_request(request: PersonRequest, public_id: str) -> HttpResponse:
    """Show one request: to whoever made it as his own page, to others beside the list. Decides nothing."""
    inbox = selectors.inbox(request.user, view_of(request))
    beside = (each for each in inbox.requests if each.public_id == public_id)
    asked = next(beside, None) or selectors.find(request.user, public_id)
    case = case_of(request.user, asked, holders=inbox.holders)
    if request.user.pk not in asked.askers:
        return inbox_page(request, inbox, case=case)
    if request.htmx:
        return HttpResponseClientRedirect(request.get_full_path())
    return own_page(request, case, costs_of(case), waiting=inbox.counts[View.WAITING])


def inbox_page(
    request: PersonRequest,
    inbox: Inbox,
    *,
    case: Case | None = None,
    form: DecideForm | None = None,
    outcome: Outcome | None = None,
    status: int = 200,
) -> HttpResponse:
    """Return the list with a case or an outcome beside it; the same as a fragment when htmx asks."""
    query = query_of(inbox.view)
    current = case.request.public_id if case else ""
    context = {
        "inbox": _list(inbox, query, current),
        "case": case_view(case, costs_of(case), query=query) if case else None,
        "form": (form or offer_form(case)) if case and (case.may_decide or case.may_veto) else None,
        "outcome": outcome,
        "approvals_waiting": inbox.counts[View.WAITING],
    }
    template = "approvals/inbox.html#inbox" if request.htmx else "approvals/inbox.html"
    return render(request, template, context, status=status)


def offer_form(case: Case, **entered: object) -> DecideForm:
    """Return the form with what was asked for, or with what had been entered before."""
    asked = case.request
    days = min(asked.duration_days, case.longest_days)
    terms = {
        "seen_revision": asked.revision,
        "monthly_cap_usd": f"{asked.expected_monthly_usd.normalize():f}",
        "duration_days": days,
        **entered,
    }
    return DecideForm(initial=terms, expected_usd=asked.expected_monthly_usd, longest_days=days)


def costs_of(case: Case) -> Costs:
    """Return what the page says of money: all of it to whoever decides, one query or four."""
    wish = facts.wish_of(case.request)
    if case.request.state is not RequestStatus.PENDING:
        return Costs(models=facts.model_prices(wish))
    if not case.may_decide:
        rows = facts.budgets_above(wish)
        outlooks = facts.budget_outlooks(wish, rows, forecast_budgets(rows))
        return Costs(models=facts.model_prices(wish), budgets=outlooks)
    money = facts.money_of(wish)
    return Costs(
        models=money.models,
        basis=money.basis,
        spent_usd=money.spent_usd,
        budgets=money.budgets,
        alternatives=money.alternatives,
        checks=tuple(_budget_check(budget) for budget in money.budgets if budget.forecast_with_percent),
    )


def view_of(request: PersonRequest) -> View:
    """Return the list that the address asks for."""
    wanted = request.GET.get("tab", "")
    return View(wanted) if wanted in TABS else View.WAITING


def query_of(view: View) -> str:
    """Return what an address adds to keep the list; nothing for the first one."""
    return "" if view is View.WAITING else f"?tab={view}"


def detail_url(asked: AccessRequest, view: View = View.WAITING) -> str:
    """Return the address of a request beside a list."""
    return reverse("approvals:detail", args=[asked.public_id]) + query_of(view)


def _budget_check(budget: facts.BudgetOutlook) -> Tone:
    percent = budget.forecast_with_percent
    if percent is not None and percent > 100:
        return Tone(tone="warn", text=f"With this, the {budget.name} is forecast to pass its limit.")
    return Tone(tone="ok", text=f"With this, the {budget.name} is forecast to hold.")


def _list(inbox: Inbox, query: str, current: str) -> InboxView:
    address = reverse("approvals:list")
    title, text = EMPTY[inbox.view]
    other = View.DECIDED if inbox.view is View.TEAM else View.TEAM
    return InboxView(
        tabs=tuple(
            Tab(
                label=label,
                url=address + query_of(view),
                current=view is inbox.view,
                count=inbox.counts.get(view),
            )
            for view, label in TABS.items()
        ),
        rows=(
            *(row_of(each, query=query, current=each.public_id == current) for each in inbox.requests),
            *map(row_of_increase, inbox.increases),
        ),
        empty_title=title,
        empty_text=text,
        empty_url=address + query_of(other),
        empty_action=f"See {TABS[other].lower()} requests",
        several=inbox.view is View.WAITING
        and not current
        and len(inbox.requests) > 1
        and bool(fitting(inbox.requests)),
    )
