"""Reads which shares of their limits budgets have passed: what is new, and what was written down."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from django.db import connection
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from budgets.expressions import LimitSince
from budgets.models import AlertKind, Budget, BudgetAlert, Window
from budgets.selectors.places import seen_by
from budgets.selectors.rows import moment_of, standing_of, with_standings
from budgets.thresholds import ALL_OF_IT, NEARLY_ALL, Earlier, Passed
from budgets.types import BudgetStanding
from teams.models import User
from teams.selectors import RolesHeld

# The window of now is the last one with a balance, if it has not ended: whoever has none has spent nothing.
NEWLY_PASSED = """
    WITH here AS (
      SELECT b.id, b.alert_percents, l.window_start, l.window_end, l.spent_usd, l.reserved_usd, m.limit_usd,
        CASE WHEN b.mode = 'hard' AND l.spent_usd * 100 >= m.limit_usd * p.nearly THEN r.at END AS refused_at
      FROM (SELECT coalesce(%(at)s::timestamptz, clock_timestamp()) AS now OFFSET 0) t
      CROSS JOIN budgets_budget b
      LEFT JOIN unnest(%(refused)s::bigint[], %(refused_at)s::timestamptz[]) AS r (id, at) ON r.id = b.id
      CROSS JOIN LATERAL (SELECT min(percent) AS least,
                            coalesce(max(percent) FILTER (WHERE percent < %(all)s), %(nearly)s) AS nearly
                          FROM unnest(b.alert_percents) percent) p
      CROSS JOIN LATERAL (SELECT * FROM budgets_balance WHERE budget_id = b.id AND window_start <= t.now
                          ORDER BY window_start DESC LIMIT 1) l
      CROSS JOIN LATERAL (SELECT budgets_limit_at(b.id, t.now) AS limit_usd OFFSET 0) m
      WHERE b.closed_at IS NULL AND l.window_end > t.now AND l.spent_usd > 0
        AND l.spent_usd * 100 >= m.limit_usd * least(p.least, p.nearly)
    )
    SELECT h.id, h.window_start, h.window_end, h.limit_usd, s.since, h.spent_usd, h.reserved_usd, p.percents
    FROM here h
    CROSS JOIN LATERAL (SELECT budgets_limit_since(h.id, h.window_start, coalesce(%(at)s, clock_timestamp()))
                        AS since OFFSET 0) s
    CROSS JOIN LATERAL (
      SELECT array_agg(percent ORDER BY percent) AS percents FROM unnest(h.alert_percents) percent
      WHERE (h.spent_usd * 100 >= h.limit_usd * percent OR percent = %(all)s AND h.refused_at >= s.since)
        AND NOT EXISTS (
        SELECT FROM budgets_budgetalert a WHERE a.budget_id = h.id AND a.window_start = h.window_start
          AND a.limit_since = s.since AND a.kind = 'spent' AND a.percent = percent.percent)
    ) p
    WHERE p.percents IS NOT NULL ORDER BY h.id LIMIT %(most)s
"""
WindowKey = tuple[int, datetime]


def newly_passed(
    *, at: datetime | None = None, most: int, refused: Mapping[int, datetime] = MappingProxyType({})
) -> list[Passed]:
    """Return the open budgets that have passed shares of their limit which are not written down. One query.

    A budget without a limit passes nothing, and so does one on which nothing is spent, whatever its limit.
    `refused` says when budgets last refused a call that what is left does not cover: a hard one that has
    passed the last share below its limit then passes all of it.
    """
    facts = {
        "at": at,
        "most": most,
        "refused": list(refused),
        "refused_at": list(refused.values()),
        "all": ALL_OF_IT,
        "nearly": NEARLY_ALL,
    }
    with connection.cursor() as cursor:
        cursor.execute(NEWLY_PASSED, facts)
        return [
            Passed(
                budget_id=budget,
                window_start=start,
                window_end=end,
                limit_usd=limit,
                limit_since=since,
                spent_usd=spent,
                held_usd=held,
                percents=tuple(percents),
            )
            for budget, start, end, limit, since, spent, held, percents in cursor.fetchall()
        ]


def passed_before(passed: Sequence[Passed]) -> dict[WindowKey, list[Earlier]]:
    """Return what these budgets passed of any limit in the same windows, by budget and start. One query."""
    alerts = BudgetAlert.objects.filter(
        kind=AlertKind.SPENT,
        budget__in=[each.budget_id for each in passed],
        window_start__in={each.window_start for each in passed},
    )
    found: dict[WindowKey, list[Earlier]] = {}
    for alert in alerts.order_by("pk"):
        found.setdefault((alert.budget_id, alert.window_start), []).append(
            Earlier(
                percent=alert.percent,
                limit_usd=alert.limit_usd,
                limit_since=alert.limit_since,
                spent_usd=alert.spent_usd,
            )
        )
    return found


def not_forecast_to_pass(
    *, windows: Collection[Window], at: datetime | None = None
) -> list[tuple[BudgetStanding, datetime]]:
    """Return the open budgets of these windows within their limit, and since when that limit is in force.

    Left out are those whose forecast was said to pass this limit already, and those without one. One query.
    """
    moment = moment_of(at)
    found = with_standings(Budget.objects.filter(closed_at__isnull=True, window__in=windows), moment)
    known = BudgetAlert.objects.filter(
        kind=AlertKind.FORECAST,
        budget=OuterRef("pk"),
        window_start=OuterRef("starts_at"),
        limit_since=OuterRef("limit_since"),
    )
    within = Q(spent_usd__lt=F("limit_usd")) | Q(spent_usd__isnull=True, limit_usd__gt=0)
    rows = found.annotate(limit_since=LimitSince(F("pk"), F("starts_at"), moment)).filter(
        within, ~Exists(known)
    )
    return [(standing_of(budget), budget.limit_since) for budget in rows.order_by("pk")]


def visible_alerts(
    user: User, *, key_ids: Iterable[int] = (), roles: RolesHeld | None = None
) -> QuerySet[BudgetAlert]:
    """Return what was passed by budgets whose scope the user may see, those since closed too."""
    seen = Budget.objects.filter(seen_by(user, key_ids=key_ids, roles=roles))
    return BudgetAlert.objects.filter(budget__in=seen.order_by().values("pk"))
