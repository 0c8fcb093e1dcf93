"""What the metrics count: spend by series since the beginning, refusals, holds, lag and drift.

Counters never fall. Spend is counted gross: what corrections took off stands in a counter of its own, read in
the same statement. The number of series is bounded: those that appeared first keep their own, all later ones
are counted together, so that none ever changes its place.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from django.db import connection
from django.db.models import F, Min, Sum
from django.db.models.functions import Abs

from budgets.models import Budget, Lease, Mode, Reservation, ReservationState, ScopeKind, Window
from budgets.selectors import budget_rows, by_scope
from budgets.types import BudgetRow
from core.money import ZERO
from teams.models import Project, Team
from usage.models import BlockedHour, Discrepancy, DiscrepancyState, ImportCursor, Invoice, ProviderAccount
from usage.selectors.projects import month_budget
from usage.selectors.rollup import days_of
from usage.selectors.scopes import organisation_scope
from usage.selectors.sources import SEPARATOR

OTHER = "other"
GATEWAY = "gateway"  # stands for a provider where a gateway tells, whatever it is in front of
# Net sums of the roll-up beside what entries took off. A credit for another model than was allowed has the
# tier of that model.
SERIES = """
    WITH net AS ({days}), credits AS (
      SELECT e.team_id, e.project_id, e.model_id,
             CASE WHEN r.model_id = e.model_id THEN r.tier_id ELSE m.tier_id END AS tier_id,
             -sum(e.amount_usd) AS usd, count(*) AS entries
      FROM budgets_entry e
      JOIN catalog_llmmodel m ON m.id = e.model_id
      LEFT JOIN budgets_reservation r ON r.id = e.reservation_id
      WHERE e.kind IN ('adjust', 'correction') AND e.amount_usd < 0 AND e.key_id IS NOT NULL
      GROUP BY 1, 2, 3, 4
    )
    SELECT t.code, p.code, m.name, s.tier_id, s.usd + s.credits_usd, s.credits_usd, s.all_calls
    FROM (
      SELECT team_id, project_id, model_id, tier_id, first_id, coalesce(net.usd, 0) AS usd,
             coalesce(credits.usd, 0) AS credits_usd,
             coalesce(all_calls, 0) + coalesce(entries, 0) AS all_calls
      FROM net FULL JOIN credits USING (team_id, project_id, model_id, tier_id)
    ) s
    JOIN teams_team t ON t.id = s.team_id
    JOIN teams_project p ON p.id = s.project_id
    JOIN catalog_llmmodel m ON m.id = s.model_id
    ORDER BY s.first_id NULLS LAST, s.team_id, s.project_id, s.model_id, s.tier_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldBy:
    """Which provider tells by a source, an account or a bill."""

    provider: Mapping[str, str]

    def of(self, source: str) -> str:
        """Return the provider that a source is of; `gateway` for a gateway's."""
        return self.provider.get(source, GATEWAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendSeries:
    """What a team's project spent on a model since the beginning, gross, and its credits; US dollars.

    `calls` counts one more for each credit, because a credit may take its call back.
    """

    team: str
    project: str
    model: str
    tier: str
    usd: Decimal
    credits_usd: Decimal
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """Refused calls of a team for one reason since the beginning."""

    team: str
    code: str
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What calls in flight hold of a project's money, leases included; US dollars."""

    team: str
    project: str
    usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthBudget:
    """The monthly budget of a team, of a project of it, or, without names, of the organisation."""

    team: str
    project: str
    row: BudgetRow


def spend_series(*, limit: int) -> list[SpendSeries]:
    """Return the series in the order of their first row, those after the first `limit` as one. One query."""
    days = (
        days_of(organisation_scope())
        .order_by()
        .values("team_id", "project_id", "model_id", "tier_id")
        .annotate(usd=Sum("cost_usd"), all_calls=Sum("calls"), first_id=Min("pk"))
    )
    sql, parameters = days.query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(SERIES.format(days=sql), parameters)
        rows = cursor.fetchall()
    series = [
        SpendSeries(
            team=team, project=project, model=model, tier=str(tier), usd=usd, credits_usd=credit, calls=calls
        )
        for team, project, model, tier, usd, credit, calls in rows
    ]
    return [*series[:limit], *_together(series[limit:])]


def refusals(*, limit: int) -> list[Refusals]:
    """Return refused calls by team and code, as `spend_series` bounds them. One query."""
    rows = (
        BlockedHour.objects.values("code", name=F("team__code"))
        .annotate(all_calls=Sum("calls"), first_id=Min("pk"))
        .order_by("first_id")
    )
    found = [Refusals(team=row["name"] or "", code=row["code"], calls=row["all_calls"]) for row in rows]
    late = sum(each.calls for each in found[limit:])
    return [*found[:limit], *([Refusals(team=OTHER, code=OTHER, calls=late)] if late else [])]


def held_by_project(*, limit: int) -> list[Held]:
    """Return what is held, the most first; a gauge may be cut off. Two queries."""
    sums: dict[tuple[str, str], Decimal] = {}
    calls = Reservation.objects.filter(state=ReservationState.OPEN)
    leases = Lease.objects.filter(closed_at__isnull=True)
    for rows in (calls, leases):
        grouped = rows.order_by().values_list("team__code", "project__code").annotate(usd=Sum("held_usd"))
        for team, project, usd in grouped:
            sums[team or "", project or ""] = sums.get((team or "", project or ""), ZERO) + usd
    ranked = sorted(sums.items(), key=lambda item: (-item[1], item[0]))
    return [Held(team=team, project=project, usd=usd) for (team, project), usd in ranked[:limit]]


def month_budgets(*, limit: int) -> list[MonthBudget]:
    """Return the tightest monthly budget of the organisation, of each team and project. Three queries."""
    kinds = (ScopeKind.ORGANISATION, ScopeKind.TEAM, ScopeKind.PROJECT)
    wanted = Budget.objects.filter(
        scope_kind__in=kinds,
        window=Window.MONTH,
        only_tier__isnull=True,
        only_model__isnull=True,
        closed_at__isnull=True,
    ).exclude(mode=Mode.NOTIFY)
    budgets = by_scope(budget_rows(wanted))
    names = _scope_codes(budgets)
    found = [(scope, month_budget(budgets, scope)) for scope in budgets]
    return [
        MonthBudget(team=names[scope][0], project=names[scope][1], row=row)
        for scope, row in found
        if row is not None and scope in names
    ][:limit]


def told_by() -> ToldBy:
    """Return which provider each account and bill is of. One query."""
    accounts = ProviderAccount.objects.order_by().values_list("public_id", "provider")
    bills = Invoice.objects.order_by().values_list("public_id", "account__provider")
    return ToldBy(provider=dict(accounts.union(bills)))


def usage_lag_seconds(told: ToldBy, at: datetime) -> dict[str, float]:
    """Return how long ago the stalest source of the gateways and of each provider was read; infinite for one
    that never was. One query. Sources that are closed are not read any more.
    """
    found: dict[str, float] = {}
    cursors = ImportCursor.objects.filter(closed_at=None).order_by()
    for source, last in cursors.values_list("source", "last_success_at"):
        age = float("inf") if last is None else max((at - last).total_seconds(), 0.0)
        provider = told.of(source.partition(SEPARATOR)[0])
        found[provider] = max(found.get(provider, 0.0), age)
    return found


def open_drift_usd(told: ToldBy) -> dict[str, Decimal]:
    """Return what open differences with the gateways and with each provider amount to, whichever way they go:
    zero where there are none. One query.
    """
    found = dict.fromkeys((GATEWAY, *told.provider.values()), ZERO)
    rows = Discrepancy.objects.filter(state=DiscrepancyState.OPEN).order_by().values_list("run__source")
    for source, usd in rows.annotate(usd=Sum(Abs("amount_usd"))):
        found[told.of(source)] += usd
    return found


def _together(late: Iterable[SpendSeries]) -> list[SpendSeries]:
    """Add up the series that came too late for one of their own."""
    whole: SpendSeries | None = None
    for each in late:
        before = whole or replace(
            each, team=OTHER, project=OTHER, model=OTHER, tier=OTHER, usd=ZERO, credits_usd=ZERO, calls=0
        )
        whole = replace(
            before,
            usd=before.usd + each.usd,
            credits_usd=before.credits_usd + each.credits_usd,
            calls=before.calls + each.calls,
        )
    return [whole] if whole else []


def _scope_codes(scopes: Iterable[tuple[ScopeKind, int]]) -> dict[tuple[ScopeKind, int], tuple[str, str]]:
    """Return the codes of team and project of scopes. Two queries."""
    ids: dict[ScopeKind, set[int]] = {kind: set() for kind in ScopeKind}
    for kind, scope_id in scopes:
        ids[kind].add(scope_id)
    teams = Team.objects.filter(pk__in=ids[ScopeKind.TEAM]).order_by()
    projects = Project.objects.filter(pk__in=ids[ScopeKind.PROJECT]).order_by()
    codes = {(ScopeKind.TEAM, pk): (code, "") for pk, code in teams.values_list("pk", "code")}
    for pk, team, project in projects.values_list("pk", "team__code", "code"):
        codes[ScopeKind.PROJECT, pk] = (team, project)
    return {(ScopeKind.ORGANISATION, 0): ("", ""), **codes}
