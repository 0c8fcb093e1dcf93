"""The projects of the Overview: their figures, how they stand, and which budget breaks first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from django.db.models import Max, Q, QuerySet

from budgets.models import Mode, ScopeKind, Window
from budgets.types import AnyBudgetStanding, BudgetStanding, BudgetStandings
from core.money import format_usd
from teams.models import Project
from usage.forecast import breach_day
from usage.selectors.summary import Summary
from usage.types import Breach, Forecast, ProjectRow, Scope, Status

NEAR_PERCENT = 80
DEFAULT_TIER = 1
# The columns of a project that its line is made of.
SHOWN = ("public_id", "code", "name", "archived_at", "owner__name", "owner__email")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A project or the whole scope in the running month, with the budget it is held against."""

    name: str
    project_code: str
    spent_usd: Decimal
    forecast: Forecast | None
    budget: BudgetStanding | None

    @property
    def limit_usd(self) -> Decimal | None:
        """Return the monthly limit, if there is one."""
        return self.budget.limit_usd if self.budget else None


def projects_of(scope: Scope, used: Iterable[int], now: datetime) -> QuerySet[Project]:
    """Return the open projects of a scope and others that it paid for, by name, with the highest tier."""
    found = Project.objects.filter((scope.projects & Q(archived_at__isnull=True)) | Q(pk__in=list(used)))
    shown = found.select_related("owner").only(*SHOWN)
    return with_top_tier(shown, now).order_by("name", "pk")


def with_top_tier(projects: QuerySet[Project], now: datetime) -> QuerySet[Project]:
    """Return projects with the highest tier granted to a key of theirs."""
    active = Q(
        api_keys__revoked_at__isnull=True,
        api_keys__grants__revoked_at__isnull=True,
        api_keys__grants__starts_at__lte=now,
        api_keys__grants__expires_at__gt=now,
    )
    return projects.annotate(top_tier=Max("api_keys__grants__tier_id", filter=active))


def month_budget(
    budgets: Mapping[tuple[ScopeKind, int], Sequence[AnyBudgetStanding]], scope: tuple[ScopeKind, int] | None
) -> AnyBudgetStanding | None:
    """Return the tightest unfiltered monthly budget of a scope that does more than tell."""
    found = [
        row
        for row in (budgets.get(scope, ()) if scope else ())
        if row.window is Window.MONTH
        and row.mode is not Mode.NOTIFY
        and not row.is_filtered
        and row.limit_usd is not None
    ]
    return min(found, key=lambda row: (row.limit_usd or 0, row.id), default=None)


def project_row(project: Project, summary: Summary, budgets: BudgetStandings, account: Account) -> ProjectRow:
    """Make one line of the table; limits and forecasts only where the period is a month."""
    moment = summary.moment
    spent_usd = summary.project_usd(project.pk, moment.period)
    limit_usd = account.limit_usd if moment.has_limits else None
    forecast_usd = account.forecast.end_usd if account.forecast and moment.is_running else None
    return ProjectRow(
        id=project.pk,
        public_id=project.public_id,
        name=project.name,
        code=project.code,
        owner=str(project.owner),
        tier=f"Tier {getattr(project, 'top_tier', None) or DEFAULT_TIER}",
        status=_status(project, budgets, account),
        spent_usd=spent_usd,
        limit_usd=limit_usd,
        spent_percent=share(spent_usd, limit_usd),
        forecast_usd=forecast_usd,
        forecast_percent=share(forecast_usd, limit_usd),
        trend=summary.trend(project.pk),
        budget=account.budget.public_id if account.budget else "",
    )


def worst_breach(accounts: Iterable[Account], summary: Summary) -> Breach | None:
    """Return the budget that will be passed first; when none will be, one that is passed already."""
    coming: list[tuple[date, Breach]] = []
    passed: list[tuple[Decimal, Breach]] = []
    for account in accounts:
        limit_usd, budget = account.limit_usd, account.budget
        if limit_usd is None or budget is None:
            continue
        if account.spent_usd >= limit_usd:
            passed.append((limit_usd - account.spent_usd, _passed(account, budget, limit_usd, summary)))
            continue
        day = _day_of_breach(account, limit_usd, summary)
        if day is not None:
            coming.append((day, _coming(account, budget, day)))
    if coming:
        return min(coming, key=lambda pair: pair[0])[1]
    return min(passed, key=lambda pair: pair[0])[1] if passed else None


def share(amount_usd: Decimal | None, limit_usd: Decimal | None) -> Decimal | None:
    """Return an amount in per cent of a limit, unrounded; None without either."""
    if amount_usd is None or limit_usd is None:
        return None
    return 100 * amount_usd / limit_usd if limit_usd else Decimal(100 if amount_usd else 0)


def _status(project: Project, budgets: BudgetStandings, account: Account) -> Status:
    if project.archived_at:
        return Status(tone="info", text="Archived")
    if any(
        row.mode is Mode.HARD and not row.is_filtered and row.left_usd is not None and row.left_usd <= 0
        for row in budgets.get((ScopeKind.PROJECT, project.pk), ())
    ):
        return Status(tone="bad", text="Blocked (429)")
    return _month_status(account)


def _month_status(account: Account) -> Status:
    limit_usd = account.limit_usd
    if limit_usd is None:
        return Status(tone="info", text="No budget")
    if account.spent_usd >= limit_usd:
        return Status(tone="bad", text="Over budget")
    if account.forecast and account.forecast.end_usd > limit_usd:
        return Status(tone="warn", text="Forecast over")
    if (share(account.spent_usd, limit_usd) or 0) >= NEAR_PERCENT:
        return Status(tone="warn", text="Near its budget")
    return Status(tone="ok", text="On track")


def _day_of_breach(account: Account, limit_usd: Decimal, summary: Summary) -> date | None:
    if account.forecast is None:
        return None
    moment = summary.moment
    return breach_day(
        limit_usd=limit_usd,
        spent_usd=account.spent_usd,
        per_day_usd=account.forecast.per_day_usd,
        today=moment.today,
        elapsed=moment.elapsed,
        last_day=moment.month.last_day,
    )


def _coming(account: Account, budget: BudgetStanding, day: date) -> Breach:
    if budget.mode is Mode.HARD:
        text = f"Calls will then return 429 until {_date(budget.window_ends_at)}."
    else:
        text = "Calls will go on: this budget only warns."
    return Breach(
        tone="warn",
        title=f"{account.name} is forecast to pass its budget on {_date(day)}.",
        text=text,
        on=day,
        project=account.project_code,
        budget=budget.public_id,
    )


def _passed(account: Account, budget: BudgetStanding, limit_usd: Decimal, summary: Summary) -> Breach:
    over_usd = account.spent_usd - limit_usd
    if budget.mode is Mode.HARD:
        text = f"Its calls return 429 until {_date(budget.window_ends_at)}."
    else:
        text = f"It is {format_usd(over_usd)} over. Calls go on: this budget only warns."
    return Breach(
        tone="bad",
        title=f"{account.name} has spent its budget.",
        text=text,
        on=summary.moment.today,
        project=account.project_code,
        budget=budget.public_id,
    )


def _date(day: date) -> str:
    return f"{day:%-d %B}"
