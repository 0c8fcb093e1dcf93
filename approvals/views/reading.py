"""The two panes: the requests that a person may see, and one of them with all that it takes to decide."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe
from django_htmx.http import HttpResponseClientRedirect

from approvals import facts, selectors
from approvals.cases import Case, case_of
from approvals.forms import DecideForm
from approvals.lists import SHOWN, AnyRequest, every_decided
from approvals.models import AccessRequest, RequestStatus
from approvals.selectors import Inbox, View
from approvals.views.own import own_page
from approvals.views.shapes import Costs, Outcome, Row, case_view, row_of, row_of_increase, status_of
from approvals.views.together import fitting
from core import addresses, clock
from core.shapes import Column, Tab, Tone
from core.sorting import Head, Table
from core.spreadsheets import Cell, csv_stream, iso
from teams.types import PersonRequest
from usage.selectors import forecast_budgets

KEPT = ("tab", "sort")
OPEN = Table(
    usual="due",
    heads=(
        Head(label="Due", sort="due"),
        Head(label="Amount", sort="usd", numeric=True),
        Head(label="Asked", sort="asked", falls=True),
        Head(label="Person", sort="who"),
    ),
)
OVER = replace(OPEN, usual="-over", heads=(Head(label="Decided", sort="over", falls=True), *OPEN.heads[1:]))
CSV_HEAD = (
    *("request", "request_id", "requester", "amount_usd", "per", "state", "asked_at", "decide_by"),
    "decided_at",
)
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
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    csv_url: str
    previous_url: str
    next_url: str
    empty_title: str
    empty_text: str
    empty_url: str
    empty_action: str
    several: bool


@require_safe
def list_requests(request: PersonRequest) -> HttpResponseBase:
    """List what waits for the person, or with `?tab=` what is open or decided in his teams; by `?sort=`, and
    all pages as CSV with `?format=csv`.
    """
    if request.GET.get("format") == "csv":
        return csv_stream(request, f"requests-{clock.now():%Y-%m-%d}", CSV_HEAD, map(_cells, _every(request)))
    return inbox_page(request, inbox_of(request))


@require_safe
def show_request(request: PersonRequest, public_id: str) -> HttpResponse:
    """Show one request: to whoever made it as his own page, to others beside the list. Decides nothing."""
    inbox = inbox_of(request)
    beside = (each for each in inbox.requests if each.public_id == public_id)
    asked = next(beside, None) or selectors.find(request.user, public_id)
    case = case_of(request.user, asked, holders=inbox.holders())
    if request.user.pk not in asked.askers:
        return inbox_page(request, inbox, case=case)
    if request.htmx:
        return HttpResponseClientRedirect(request.get_full_path())
    return own_page(request, case, costs_of(case), waiting=inbox.counts[View.WAITING])


def inbox_of(request: PersonRequest) -> Inbox:
    """Return the page of the list that the address asks for, and one row more where there is another page."""
    view, first = view_of(request), SHOWN * addresses.page_number(request)
    part = slice(first, first + SHOWN + 1)
    return selectors.inbox(request.user, view, order=_table(view).order(request), part=part)


def _every(request: PersonRequest) -> Iterable[AnyRequest]:
    """Give all requests of a list, on whatever page they are."""
    view = view_of(request)
    order = _table(view).order(request)
    if view is View.DECIDED:
        return every_decided(request.user, order=order)
    return selectors.inbox(request.user, view, order=order, part=slice(None)).rows


def _table(view: View) -> Table:
    return OVER if view is View.DECIDED else OPEN


def _cells(request: AnyRequest) -> tuple[Cell, ...]:
    row = row_of(request) if isinstance(request, AccessRequest) else row_of_increase(request)
    return (
        row.title,
        request.public_id,
        row.requester,
        row.expected_usd,
        row.per,
        status_of(request).text,
        iso(request.created_at),
        iso(request.decide_by),
        iso(request.decided_at),
    )


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
    query = query_of(request, inbox.view)
    current = case.request.public_id if case else ""
    context = {
        "inbox": _list(request, inbox, query, current),
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
        "monthly_cap_usd": f"{case.most_usd.normalize():f}",
        "duration_days": days,
        **entered,
    }
    return DecideForm(initial=terms, expected_usd=case.most_usd, longest_days=days)


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


def query_of(request: PersonRequest, view: View) -> str:
    """Return what an address adds to keep the list as it is; nothing for the first one as it usually is."""
    kept = {"tab": "" if view is View.WAITING else view.value}
    if addresses.choice(request, "sort", _table(view).known, ""):
        kept |= {"sort": request.GET["sort"]}
    if number := addresses.page_number(request):
        kept |= {"page": str(number)}
    given = urlencode({name: value for name, value in kept.items() if value})
    return f"?{given}" if given else ""


def detail_url(asked: AccessRequest, query: str = "") -> str:
    """Return the address of a request; `query` keeps the list beside it."""
    return reverse("approvals:detail", args=[asked.public_id]) + query


def _budget_check(budget: facts.BudgetOutlook) -> Tone:
    percent = budget.forecast_with_percent
    if percent is not None and percent > 100:
        return Tone(tone="warn", text=f"With this, the {budget.name} is forecast to pass its limit.")
    return Tone(tone="ok", text=f"With this, the {budget.name} is forecast to hold.")


def _list(request: PersonRequest, inbox: Inbox, query: str, current: str) -> InboxView:
    address = reverse("approvals:list")
    title, text = EMPTY[inbox.view]
    other = View.DECIDED if inbox.view is View.TEAM else View.TEAM
    previous_url, next_url = addresses.pages(request, KEPT, has_more=len(inbox.rows) > SHOWN, path=address)
    return InboxView(
        tabs=tuple(
            Tab(
                label=label,
                url=address + _tab_query(view),
                current=view is inbox.view,
                count=inbox.counts.get(view),
            )
            for view, label in TABS.items()
        ),
        columns=_table(inbox.view).columns(request, KEPT, path=address),
        rows=tuple(_row(each, query, current) for each in inbox.rows[:SHOWN]),
        csv_url=addresses.link(request, KEPT, path=address, format="csv"),
        previous_url=previous_url,
        next_url=next_url,
        empty_title=title,
        empty_text=text,
        empty_url=address + _tab_query(other),
        empty_action=f"See {TABS[other].lower()} requests",
        several=inbox.view is View.WAITING
        and not current
        and len(inbox.requests) > 1
        and bool(fitting(inbox.requests)),
    )


def _tab_query(view: View) -> str:
    return "" if view is View.WAITING else f"?tab={view}"


def _row(request: AnyRequest, query: str, current: str) -> Row:
    if isinstance(request, AccessRequest):
        return row_of(request, query=query, current=request.public_id == current)
    return row_of_increase(request)
