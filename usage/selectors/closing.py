"""Reads the months of the books: how far each is closed, and what stands in the way."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import F, Q, QuerySet, Sum

from budgets.models import Entry, EntryKind
from core import clock
from core.errors import NotFoundError
from core.money import ZERO, format_usd
from teams.models import User
from usage.models import (
    Discrepancy,
    DiscrepancyState,
    ImportCursor,
    Invoice,
    Level,
    PeriodClose,
    PeriodFigure,
    PeriodState,
    ProviderAccount,
    ReconciliationRun,
    RunState,
)
from usage.selectors.adjustments import PRIOR
from usage.selectors.compared import NOT_COMPARED, days_never_compared
from usage.selectors.periods import day_starts_at, organisation_today
from usage.selectors.rollup import EVERYTHING, days_of
from usage.selectors.runs import require_books
from usage.selectors.sources import SEPARATOR, gateways_told

SOFT_AFTER_DAYS = 3
MONTHS_SHOWN = 13


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One condition of closing a month: whether it holds, and what it is."""

    holds: bool
    title: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """One month of the books with what it came to, by the roll-up as it is now."""

    first_day: date
    state: PeriodState
    period: PeriodClose | None
    cost_usd: Decimal

    @property
    def name(self) -> str:
        """Return the month as addresses write it."""
        return f"{self.first_day:%Y-%m}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustments:
    """What came after a month was closed: corrections and late usage booked in the open month, and by how
    much the month's own roll-up moved.
    """

    closed_usd: Decimal
    booked_usd: Decimal
    moved_usd: Decimal


def periods_for(user: User) -> QuerySet[PeriodClose]:
    """Return every month that was ever closed. Raises RoleNeededError for those without the books."""
    require_books(user)
    return PeriodClose.objects.select_related("soft_closed_by", "closed_by", "reopened_by")


def months() -> list[Month]:
    """Return the last 13 months, the newest first. Two queries."""
    first = organisation_today().replace(day=1)
    firsts = [first]
    while len(firsts) < MONTHS_SHOWN:
        firsts.append((firsts[-1] - timedelta(days=1)).replace(day=1))
    periods = {one.month: one for one in PeriodClose.objects.filter(month__gte=firsts[-1])}
    spent: dict[date, Decimal] = {}
    rows = days_of(EVERYTHING).filter(day__gte=firsts[-1]).values_list("day").annotate(usd=Sum("cost_usd"))
    for day, usd in rows.order_by("day"):
        spent[day.replace(day=1)] = spent.get(day.replace(day=1), ZERO) + usd
    return [
        Month(
            first_day=one,
            state=PeriodState(periods[one].state) if one in periods else PeriodState.OPEN,
            period=periods.get(one),
            cost_usd=spent.get(one, ZERO),
        )
        for one in firsts
    ]


def last_month_over() -> date:
    """Return the first day of the last month that is over. No query."""
    return (organisation_today().replace(day=1) - timedelta(days=1)).replace(day=1)


def state_of_month(first_day: date) -> PeriodState:
    """Return how far a month is closed. One query."""
    state = PeriodClose.objects.filter(month=first_day).values_list("state", flat=True).first()
    return PeriodState(state or PeriodState.OPEN)


def find_month(name: str) -> Month:
    """Return a month by its name, such as 2026-11. Two queries. Raises NotFoundError for one not shown."""
    found = next((month for month in months() if month.name == name), None)
    if found is None:
        raise NotFoundError("There is no such month, or it is too long ago. Write it as 2026-11.")
    return found


def closed_between(starts_at: datetime, ends_at: datetime) -> list[date]:
    """Return the first days of the closed months that [starts_at, ends_at) reaches into. One query."""
    zone = ZoneInfo(settings.TIME_ZONE)
    first, last = (at.astimezone(zone).date() for at in (starts_at, ends_at - timedelta(microseconds=1)))
    closed = PeriodClose.objects.filter(
        state=PeriodState.CLOSED, month__gte=first.replace(day=1), month__lte=last
    )
    return list(closed.order_by("month").values_list("month", flat=True))


def end_of_month(first_day: date) -> date:
    """Return the first day of the next month."""
    return (first_day + timedelta(days=32)).replace(day=1)


def soft_close_from(first_day: date) -> date:
    """Return the first day on which a month may be softly closed: money is final three days after it."""
    return end_of_month(first_day) + timedelta(days=SOFT_AFTER_DAYS)


def checklist(first_day: date) -> list[Check]:
    """Return what must hold before a month is closed. Twelve queries at most."""
    return [
        _is_over(first_day),
        _all_read(first_day),
        _all_compared(first_day),
        _nothing_open(first_day),
        _bills_there(first_day),
    ]


def adjustments(period: PeriodClose) -> Adjustments:
    """Return what came after a month was closed. Three queries."""
    figures = PeriodFigure.objects.filter(period=period).filter(closed_at=F("period__closed_at"))
    closed_usd = figures.aggregate(usd=Sum("cost_usd"))["usd"] or ZERO
    booked = Entry.objects.annotate(prior=PRIOR).filter(kind=EntryKind.ADJUST, prior=period.month)
    days = days_of(EVERYTHING).filter(day__gte=period.month, day__lt=end_of_month(period.month))
    now_usd = days.aggregate(usd=Sum("cost_usd"))["usd"] or ZERO
    return Adjustments(
        closed_usd=closed_usd,
        booked_usd=booked.aggregate(usd=Sum("amount_usd"))["usd"] or ZERO,
        moved_usd=now_usd - closed_usd,
    )


def _is_over(first_day: date) -> Check:
    day = soft_close_from(first_day)
    return Check(
        holds=organisation_today() >= day,
        title="The month is over, and its money is final",
        detail=f"Providers' money is final three days after a day. Possible from {day:%-d %B %Y}.",
    )


def _all_read(first_day: date) -> Check:
    """Whether every source that is not closed was read to the end, and no comparison with one is red."""
    needed = min(day_starts_at(end_of_month(first_day)), clock.now())
    cursors = ImportCursor.objects.filter(closed_at=None).order_by("source")
    late = [
        source
        for source, at, error in cursors.values_list("source", "last_success_at", "last_error")
        if at is None or at < needed or error
    ]
    red = _compared_still().exclude(notice=NOT_COMPARED).filter(
        day__gte=first_day, day__lt=end_of_month(first_day), state=RunState.UNREADABLE
    ).count()  # fmt: skip
    detail = "Every source was read after the end of the month."
    if late:
        detail = f"Not read to the end of the month: {', '.join(_called(late[:5]))}."
    elif red:
        detail = f"{red} comparisons of the month are red because a source was not read."
    return Check(holds=not late and not red, title="All sources are read", detail=detail)


def _all_compared(first_day: date) -> Check:
    """Whether every day with calls or providers' figures was held against something."""
    end = min(end_of_month(first_day), clock.now().date())
    left = days_never_compared(first_day, end)
    detail = "Every day of the month was compared since it was over."
    if left:
        more = f" and {len(left) - 5} more" if len(left) > 5 else ""
        shown = ", ".join(f"{day:%-d %B}" for day in left[:5])
        detail = (
            f"Never compared since they were over: {shown}{more}. The jobs make up for the last 45 days;"
            " manage.py reconcile --day compares any."
        )
    return Check(holds=not left, title="All days are compared", detail=detail)


def _called(sources: Sequence[str]) -> list[str]:
    """Return what sources are called: an account by its name and what is read of it, others as they are."""
    parts = [source.partition(SEPARATOR) for source in sources]
    accounts = ProviderAccount.objects.filter(public_id__in=[teller for teller, _, _ in parts])
    names = {account.public_id: str(account) for account in accounts}
    return [f"{names.get(teller, teller)} {what}".rstrip() for teller, _, what in parts]


def _compared_still() -> QuerySet[ReconciliationRun]:
    """Return the comparisons whose other side is still read: not those of a closed log or account."""
    closed = ProviderAccount.objects.filter(closed_at__isnull=False)
    runs = ReconciliationRun.objects.exclude(source__in=closed.values("public_id"))
    runs = runs.exclude(source__in=Invoice.objects.filter(account__in=closed).values("public_id"))
    return runs.exclude(~Q(source__in=gateways_told()), level=Level.CALLS).order_by()


def _nothing_open(first_day: date) -> Check:
    limit = settings.PERIOD_CLOSE_OPEN_USD
    found = Discrepancy.objects.filter(
        run__day__gte=first_day, run__day__lt=end_of_month(first_day), state=DiscrepancyState.OPEN
    ).values_list("amount_usd", "detail__unpriced")
    large = [amount for amount, _ in found if abs(amount) > limit]
    unpriced = sorted({model for _, models in found for model in models or ()})
    said = []
    if large:
        noun = "difference is" if len(large) == 1 else "differences are"
        said.append(f"{len(large)} open {noun} above {format_usd(limit)}.")
    if unpriced:
        shown = ", ".join(name or "an unnamed model" for name in unpriced[:5])
        said.append(f"What open differences are worth is not known: no price for {shown}. Enter one.")
    detail = " ".join(said) or f"No open difference of the month is above {format_usd(limit)}."
    return Check(holds=not said, title="Nothing large is open", detail=detail)


def _bills_there(first_day: date) -> Check:
    """Whether every account has a bill whose period covers the month."""
    accounts = list(ProviderAccount.objects.filter(closed_at__isnull=True, created_at__lt=_end_at(first_day)))
    billed = set(
        Invoice.objects.filter(
            superseded_at__isnull=True, period_start__lte=first_day, period_end__gte=end_of_month(first_day)
        ).values_list("account_id", flat=True)
    )
    missing = [str(account) for account in accounts if account.pk not in billed]
    detail = "The bill of every provider account is there."
    if missing:
        detail = f"No bill for the month from {', '.join(missing[:5])}."
    return Check(holds=not missing, title="The providers' bills are there", detail=detail)


def _end_at(first_day: date) -> datetime:
    return datetime.combine(end_of_month(first_day), datetime.min.time(), tzinfo=UTC)
