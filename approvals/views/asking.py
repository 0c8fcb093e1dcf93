"""Asking for access: the questions, what the answers would cost and who decides, and the sending."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from approvals import facts, services
from approvals.errors import AlreadyAskedError
from approvals.facts import BudgetOutlook, Money
from approvals.models import AccessRequest
from approvals.views.wizard import CHECK, COST, FIELDS, PROJECT, TIER, Question, Wizard
from catalog.selectors import REFERENCE_MIX
from core import clock
from core.errors import InvalidInputError
from core.money import format_usd
from core.problems import from_error
from core.templatetags.ui import multiple
from core.words import counted
from teams.selectors import names_of
from teams.types import PersonRequest

Pairs = list[tuple[str, str]]
DEFAULT_TIER = 1
CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """A share of a limit, with a mark where the forecast would take it."""

    percent: Decimal | None
    label: str
    mark_percent: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelLine:
    """One thing that the answers so far mean."""

    label: str
    text: str
    meter: Meter | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLine:
    """One answer on the last page, with the way back to its question."""

    label: str
    text: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AskPage:
    """One page of the questions; `answers` are there on the last one alone."""

    url: str
    method: str
    number: int
    total: int
    question: str
    submit_text: str
    back_url: str
    carried: tuple[tuple[str, str], ...]
    answers: tuple[AnswerLine, ...]
    panel: tuple[PanelLine, ...]
    can_ask: bool


@require_http_methods(["GET", "HEAD", "POST"])
def ask(request: PersonRequest) -> HttpResponse:
    """Ask one question after another in the address; on POST send the request.

    `?project=CODE&tier=N` is where a refusal of a gateway leads: these answers are given already.
    """
    if request.method != "POST":
        return _page(request, Wizard(request.user, request.GET, wanted=request.GET.get("step", "")))
    wizard = Wizard(request.user, request.POST, wanted=CHECK, sending=True)
    if wizard.current is None:
        try:
            return _sent(request, _submit(wizard))
        except AlreadyAskedError as error:
            return _asked_before(request, error)
        except InvalidInputError as error:
            wizard.refuse(error.field, error.detail)
    return _page(request, wizard)


def _submit(wizard: Wizard) -> AccessRequest:
    answers, project, terms = wizard.answers, wizard.project, wizard.terms
    assert project is not None
    assert terms is not None
    return services.submit(
        actor=wizard.user,
        project=project,
        tier=terms.tier,
        model_names=answers["models"],
        reason=answers["reason"],
        duration_days=answers["duration_days"],
        expected_monthly_usd=answers["expected_monthly_usd"],
        extends_key=wizard.extends_key,
        ticket=answers.get("ticket", ""),
    )


def _sent(request: PersonRequest, asked: AccessRequest) -> HttpResponse:
    messages.success(request, "Your request is sent. You get a mail when it is decided.")
    return redirect("approvals:detail", asked.public_id)


def _asked_before(request: PersonRequest, error: AlreadyAskedError) -> HttpResponse:
    """Show the way to the request that waits already: a second click, or a second thought."""
    way = {
        "next_url": reverse("approvals:detail", args=[error.extra["request"]]),
        "next_text": "See that request",
    }
    return render(request, "error.html", {"problem": {**from_error(error), **way}}, status=error.status)


def _page(request: PersonRequest, wizard: Wizard) -> HttpResponse:
    wish = wizard.wish()
    money = facts.money_of(wish) if wish else None
    if wizard.current is COST and money and money.repriced_usd and money.repriced_usd >= CENT:
        wizard.form.initial.setdefault("expected_monthly_usd", f"{money.repriced_usd:.2f}")
    page = _ask_page(wizard, tuple(_panel(wizard, money)) if money else ())
    in_panel = request.htmx and request.htmx.target == "panel"
    template = "approvals/ask.html#panel" if in_panel else "approvals/ask.html"
    status = 422 if wizard.form.errors and not in_panel else 200
    return render(request, template, {"ask": page, "form": wizard.form}, status=status)


def _ask_page(wizard: Wizard, panel: tuple[PanelLine, ...]) -> AskPage:
    questions, current = wizard.questions, wizard.current
    position = questions.index(current) if current else len(questions)
    before = questions[position - 1] if position else None
    first_field = next(iter(wizard.form.fields.values()), None)
    return AskPage(
        url=reverse("approvals:ask"),
        method="get" if current else "post",
        number=position + 1,
        total=len(questions) + 1,
        question=str(first_field.label) if first_field else "Check your answers",
        submit_text="Continue" if current else "Send the request",
        back_url=_address(_given(wizard), step=before.name) if before else "",
        carried=tuple(_carried(wizard, current, questions[position + 1 :])),
        answers=() if current else tuple(_answers(wizard)),
        panel=panel,
        can_ask=bool(wizard.projects),
    )


def _given(wizard: Wizard, *, without: tuple[str, ...] = ()) -> Pairs:
    """Return the answers given so far as the address has them, whether they count or not."""
    names = [name for name in FIELDS if name in wizard.data and name not in without]
    return [(name, value) for name in names for value in wizard.data.getlist(name)]


def _carried(wizard: Wizard, current: Question | None, following: list[Question]) -> Pairs:
    """Return what the form of a question takes along: the other answers, and where it leads to."""
    if current is None:
        return _given(wizard)
    pairs = _given(wizard, without=current.fields + current.drops)
    if wizard.data.get("from") != CHECK or current in (PROJECT, TIER):
        return [*pairs, ("step", following[0].name if following else CHECK)]
    return [*pairs, ("from", CHECK), ("step", CHECK)]


def _address(pairs: Pairs, **more: str) -> str:
    return f"{reverse('approvals:ask')}?{urlencode([*pairs, *more.items()])}"


def _answers(wizard: Wizard) -> Iterator[AnswerLine]:
    given = _given(wizard)
    terms, answers = wizard.terms, wizard.answers
    expected = format_usd(answers["expected_monthly_usd"])
    texts = {
        "project": ("Project", str(wizard.project)),
        "tier": ("Tier", f"{terms.tier}, {terms.tier.name}" if terms else ""),
        "models": ("Models", ", ".join(answers["models"]) or "Every model of the tier"),
        "key": ("Key", str(wizard.extends_key or "A new key")),
        "reason": ("Why", " ".join((answers["reason"], answers.get("ticket", ""))).strip()),
        "cost": (
            "For how long, at what cost",
            f"{counted(answers['duration_days'], 'day')}, {expected} a month",
        ),
    }
    for question in wizard.questions:
        label, text = texts[question.name]
        address = _address(given, step=question.name, **{"from": CHECK})
        yield AnswerLine(label=label, text=text, url=address)


def _panel(wizard: Wizard, money: Money) -> Iterator[PanelLine]:
    answers = wizard.answers
    if wizard.terms:
        yield PanelLine(label="Expected cost", text=_expected(wizard, money))
        yield PanelLine(label="From the last 30 days", text=money.basis)
    for budget in money.budgets:
        yield _budget_line(budget)
    everyday = [row for row in money.alternatives if not row.asked and row.tier_number == DEFAULT_TIER]
    if everyday:
        nearest, against = everyday[0], [row for row in money.alternatives if row.asked][-1]
        yield PanelLine(
            label="Cheaper",
            text=f"{nearest.name} (Tier 1, no approval) would cost {format_usd(nearest.monthly_usd)} a month"
            f" for the same use: {multiple(nearest.times_cheaper)} cheaper than {against.name}.",
        )
    if wizard.prospect:
        deciders = names_of(wizard.prospect.deciders)
        yield PanelLine(label="Who decides", text=f"{deciders}, as {wizard.prospect.role_text}")
        yield PanelLine(
            label="Decided by", text=f"{wizard.prospect.decide_by:%-d %B %Y, %H:%M} UTC at the latest"
        )
    if "duration_days" in answers:
        until = clock.now() + timedelta(days=answers["duration_days"])
        yield PanelLine(label="Access until", text=f"{until:%-d %B %Y}, if it is approved today")


def _expected(wizard: Wizard, money: Money) -> str:
    entered = wizard.answers.get("expected_monthly_usd")
    if entered is not None:
        return f"{format_usd(entered)} a month, as you entered it"
    if money.repriced_usd is not None:
        return f"{format_usd(money.repriced_usd)} a month, going by the last 30 days"
    return f"Not known yet. Models are compared at {REFERENCE_MIX}."


def _budget_line(budget: BudgetOutlook) -> PanelLine:
    left = f"{format_usd(budget.left_usd)} left of {format_usd(budget.limit_usd)}"
    forecast = budget.forecast_with_usd
    return PanelLine(
        label=budget.name,
        text=left if forecast is None else f"{left}. Forecast with this: {format_usd(forecast)}",
        meter=Meter(
            percent=budget.spent_percent,
            label="Share of the budget that is spent",
            mark_percent=budget.forecast_with_percent,
        ),
    )
