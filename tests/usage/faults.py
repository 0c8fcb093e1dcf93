"""Days of traffic as both sides and the providers would have it, with faults put in that are known.

Everything is made by SQL from one table of the truth, by numbers that look random and are the same in each
run. `Planted` is what a perfect reconciliation finds.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from budgets.models import Mode, ScopeKind, Window
from budgets.services import limits
from catalog.models import LlmModel, Provider
from core import clock
from keys.models import ApiKey
from tests import factories
from tests.cast import Cast
from tests.usage.books import HOURS
from usage.models import (
    DiscrepancyClass,
    ImportCursor,
    ProviderAccount,
    ProviderCost,
    ProviderUsage,
    UpstreamCredential,
)

CLASS = DiscrepancyClass
FAULTS_A_DAY = 3
SHARED_CALLS, SHARED_INPUT, SHARED_OUTPUT = 25, 20_000, 1_500
UNKNOWN_CALLS, UNKNOWN_INPUT, UNKNOWN_OUTPUT = 40, 9_000, 900
DEARER = Decimal("1.25")  # of what the provider charges for output from the change on
A_LITTLE_DEARER = Decimal("1.003")

TRUTH = """
    CREATE TEMPORARY TABLE truth ON COMMIT DROP AS
    WITH numbers AS (
      SELECT day, number, (abs(hashint8(day * 1000003 + number)::bigint)) AS dice
      FROM generate_series(0, %(days)s - 1) AS day, generate_series(1, %(calls)s) AS number
    ), calls AS (
      SELECT n.*, CASE number %% 3 WHEN 0 THEN %(second)s ELSE %(first)s END AS source,
        (ARRAY[%(small)s, %(large)s, %(larger)s, %(frontier)s])[CASE WHEN number %% 3 = 0 THEN 1 + dice %% 2
          ELSE 1 + dice %% 4 END] AS model_id, 200 + dice %% 4000 AS input_tokens,
        dice / 7 %% 200 AS cached_tokens, 20 + dice / 11 %% 900 AS output_tokens,
        %(start)s::timestamptz + day * interval '1 day' + number * interval '1 day' / (%(calls)s + 1) AS at,
        'rsv_' || lpad((day * 10000000 + number)::text, 12, '0') AS id
      FROM numbers n
    )
    SELECT c.*, p.id AS project_id, p.team_id, t.department_id, m.tier_id, m.name AS model_name,
      k.id AS key_id,
      k.owner_id, row_number() OVER (PARTITION BY day ORDER BY dice, number) AS place,
      dice %% 97 = 0 AS cache_hit, 'resp-' || c.id AS answer,
      CASE WHEN dice %% 97 = 0 THEN 0 ELSE core_round_half_even(
        input_tokens * i.usd_per_unit + output_tokens * o.usd_per_unit, 12) END AS cost_usd
    FROM calls c JOIN catalog_llmmodel m ON m.id = c.model_id
    JOIN keys_apikey k ON k.id = CASE WHEN c.number %% 2 = 0 THEN %(key)s ELSE %(other_key)s END
    JOIN teams_project p ON p.id = k.project_id JOIN teams_team t ON t.id = p.team_id
    JOIN catalog_price i ON i.model_id = m.id AND i.unit = 'input'
    JOIN catalog_price o ON o.model_id = m.id AND o.unit = 'output'
"""
# Three calls a day for each fault, after the calls that no fault touches were left out: a call from a
# gateway's cache costs nothing on purpose.
FAULTS = """
    CREATE TEMPORARY TABLE fault ON COMMIT DROP AS
    SELECT day, number, (ARRAY['missing_at_portal', 'nobodys', 'missing_at_gateway', 'duplicate',
      'booked_twice',
      'token_mismatch', 'price_mismatch', 'zero_cost', 'almost'])[1 + (turn - 1) / %(each)s] AS kind
    FROM (SELECT day, number, row_number() OVER (PARTITION BY day ORDER BY place) AS turn FROM truth
          WHERE NOT cache_hit AND source = %(first)s) t
    WHERE turn <= 9 * %(each)s
"""
RESERVATIONS = """
    INSERT INTO budgets_reservation (public_id, source, request_id, request_hash, key_id, owner_id,
      project_id,
      team_id, department_id, model_id, tier_id, context, route, input_bound_tokens, max_output_tokens,
      choices,
      held_usd, input_floor_usd, budget_ids, window_starts, warnings, state, authorized_at, expires_at,
      resolved_at)
    SELECT id, source, id, sha256(id::bytea), key_id, owner_id, project_id, team_id, department_id, model_id,
      tier_id, 'standard', '/v1/chat/completions', input_tokens, output_tokens, 1, cost_usd, 0, %(budget)s,
      ARRAY(SELECT (budgets_window(b.window, b.window_anchor, b.time_zone, at)).window_start
            FROM budgets_budget b WHERE b.id = ANY (%(budget)s)),
      '[]', 'released', at, at + interval '10 minutes', at + interval '10 minutes'
    FROM truth JOIN fault USING (day, number) WHERE kind = 'missing_at_portal'
"""
EVENTS = """
    INSERT INTO usage_event (source, external_id, at, recorded_at, key_id, owner_id, project_id, team_id,
      department_id, model_id, tier_id, calls, cost_usd, input_tokens, cached_tokens, cache_write_tokens,
      output_tokens, reasoning_tokens, finish, cache_hit, estimated, late, provider_call_id)
    SELECT source, id || suffix, at, at + interval '5 seconds', key_id, owner_id, project_id, team_id,
      department_id, model_id, tier_id, 1, CASE WHEN kind = 'zero_cost' THEN 0 ELSE cost_usd END,
      input_tokens,
      cached_tokens, 0, output_tokens, 0, 'stop', cache_hit, false, false, answer
    FROM truth LEFT JOIN fault USING (day, number)
    CROSS JOIN LATERAL (SELECT '' AS suffix UNION ALL SELECT '-again' WHERE kind = 'booked_twice') copies
    WHERE kind IS NULL OR kind NOT IN ('missing_at_portal', 'nobodys') ORDER BY at
"""
JOURNAL = """
    INSERT INTO usage_gateway_call (source, external_id, at, pulled_at, model_name, finish, cache_hit,
      released,
      input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_usd,
      provider_call_id)
    SELECT source, id || suffix, at, at + interval '60 seconds', model_name, 'stop', cache_hit, false,
      input_tokens + CASE WHEN kind = 'token_mismatch' THEN 1000 ELSE 0 END, cached_tokens, 0,
      output_tokens, 0,
      CASE kind WHEN 'price_mismatch' THEN cost_usd * 1.05 WHEN 'almost' THEN cost_usd * 1.0009
        ELSE cost_usd END, answer
    FROM truth LEFT JOIN fault USING (day, number)
    CROSS JOIN LATERAL (SELECT '' AS suffix
      UNION ALL SELECT '-again' WHERE kind IN ('booked_twice', 'duplicate')) copies
    WHERE kind IS DISTINCT FROM 'missing_at_gateway' ORDER BY at
"""
ENTRIES = """
    INSERT INTO budgets_entry (public_id, kind, amount_usd, budget_ids, window_starts, key_id, project_id,
      team_id, department_id, model_id, price_ids, tokens, overrun_usd, reason, effective_at, recorded_at)
    SELECT 'ent_' || left(md5(external_id), 28), 'settle', cost_usd, %(budget)s,
      ARRAY(SELECT (budgets_window(b.window, b.window_anchor, b.time_zone, at)).window_start
            FROM budgets_budget b WHERE b.id = ANY (%(budget)s)),
      key_id, project_id, team_id, department_id, model_id, '{}', '{}', 0, '', at, recorded_at
    FROM usage_event
"""
BALANCES = """
    INSERT INTO budgets_balance (budget_id, window_start, window_end, spent_usd, reserved_usd)
    SELECT s.budget_id, s.window_start, w.window_end, s.usd, 0
    FROM (SELECT budget_id, window_start, sum(amount_usd) AS usd FROM budgets_entry,
            unnest(budget_ids, window_starts) AS p (budget_id, window_start) GROUP BY 1, 2) s
    JOIN budgets_budget b ON b.id = s.budget_id
    CROSS JOIN LATERAL budgets_window(b.window, b.window_anchor, b.time_zone, s.window_start) w
    ON CONFLICT (budget_id, window_start) DO UPDATE SET spent_usd = excluded.spent_usd
"""
DAYS = """
    INSERT INTO usage_day (day, key_id, owner_id, project_id, team_id, department_id, model_id, tier_id,
      calls,
      cost_usd, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens)
    SELECT (at AT TIME ZONE %(zone)s)::date, key_id, owner_id, project_id, team_id, department_id, model_id,
      tier_id, count(*), sum(cost_usd), sum(input_tokens), sum(cached_tokens), 0, sum(output_tokens), 0
    FROM usage_event GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
"""
# What a provider counted: everything that reached it, once.
COUNTED = """
    SELECT day, source, model_name, count(*), sum(input_tokens), sum(cached_tokens), sum(output_tokens)
    FROM truth LEFT JOIN fault USING (day, number)
    WHERE NOT cache_hit AND kind IS DISTINCT FROM 'nobodys' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
PLANTED = """
    SELECT CASE kind WHEN 'nobodys' THEN 'missing_at_portal' WHEN 'booked_twice' THEN 'duplicate'
      ELSE kind END,
      source, id || CASE WHEN kind IN ('booked_twice', 'duplicate') THEN '-again' ELSE '' END
    FROM truth JOIN fault USING (day, number) WHERE kind <> 'almost'
"""

Key = tuple[str, str, str]  # class, source and day, what


@dataclass(slots=True, kw_only=True)
class Planted:
    """What was put in: every fault by class, and the money of each cause in US dollars."""

    first_day: date
    days: int
    sources: tuple[str, str]
    accounts: tuple[ProviderAccount, ProviderAccount]
    calls: int = 0
    change_day: date
    faults: set[Key] = field(default_factory=set)
    unknown_usd: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    price_usd: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))

    def each_day(self) -> list[date]:
        """Return every day, the first one first."""
        return [self.first_day + timedelta(days=number) for number in range(self.days)]


@transaction.atomic
def plant(cast: Cast, *, days: int, calls_a_day: int, change_on: int) -> Planted:
    """Make so many days up to yesterday, every fault on every day; the price changes on day `change_on`."""
    first_day = clock.now().astimezone(UTC).date() - timedelta(days=days)
    for model in (cast.larger, cast.frontier):
        LlmModel.objects.filter(pk=model.pk).update(provider=Provider.ANTHROPIC)
    sources, accounts = _registry(cast)
    planted = Planted(
        first_day=first_day,
        days=days,
        sources=sources,
        accounts=accounts,
        change_day=first_day + timedelta(days=change_on),
    )
    keys = _keys(cast)
    budget = limits.open_budget(
        actor=None, scope_kind=ScopeKind.ORGANISATION, scope_id=0, department=None, window=Window.MONTH,
        mode=Mode.NOTIFY, amount_usd=Decimal(1_000_000), reason="A test.",
    )  # fmt: skip
    names: dict[str, Any] = {
        "days": days,
        "calls": calls_a_day,
        "start": datetime.combine(first_day, time.min, tzinfo=UTC),
        "first": sources[0],
        "second": sources[1],
        "key": keys[0].pk,
        "other_key": keys[1].pk,
        "each": FAULTS_A_DAY,
        "budget": [budget.pk],
        "zone": settings.TIME_ZONE,
        **{name: getattr(cast, name).pk for name in ("small", "large", "larger", "frontier")},
    }
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute("SELECT usage_make_partitions(%s, %s)", [first_day, clock.now().date()])
        for statement in (TRUTH, FAULTS, RESERVATIONS, EVENTS, JOURNAL, ENTRIES, BALANCES, DAYS, HOURS):
            cursor.execute(statement, names)
        cursor.execute("SELECT count(*) FROM truth")
        planted.calls = cursor.fetchone()[0]
        cursor.execute(PLANTED)
        planted.faults |= {(kind, source, what) for kind, source, what in cursor.fetchall()}
        cursor.execute(COUNTED)
        counted = cursor.fetchall()
        cursor.execute("ANALYZE usage_call, usage_gateway_call, usage_day, budgets_entry, catalog_price")
    _providers(cast, planted, counted)
    return planted


def _registry(cast: Cast) -> tuple[tuple[str, str], tuple[ProviderAccount, ProviderAccount]]:
    gateways = [factories.GatewayFactory.create(name=name) for name in ("litellm-eu", "litellm-us")]
    for gateway in gateways:
        ImportCursor.objects.create(source=gateway.public_id, last_success_at=clock.now())
    openai = ProviderAccount.objects.create(provider=Provider.OPENAI, name="acme")
    anthropic = ProviderAccount.objects.create(provider=Provider.ANTHROPIC, name="acme")
    for account, key, gateway in (
        (openai, "key_eu", gateways[0]),
        (anthropic, "apikey_eu", gateways[0]),
        (openai, "key_us", gateways[1]),
    ):
        UpstreamCredential.objects.create(
            account=account, external_id=key, label=key, held_by=gateway.public_id, registered_by=cast.ann
        )
    UpstreamCredential.objects.create(
        account=openai, external_id="key_research", label="Research, on purpose"
    )
    return (gateways[0].public_id, gateways[1].public_id), (openai, anthropic)


def _keys(cast: Cast) -> list[ApiKey]:
    return [
        factories.ApiKeyFactory.create(project=cast.ranking, owner=cast.ada),
        factories.ApiKeyFactory.create(project=cast.fraud, owner=cast.dan),
    ]


@dataclass(slots=True, kw_only=True)
class _Figures:
    """What the providers tell, collected row by row."""

    cast: Cast
    planted: Planted
    usage: list[ProviderUsage] = field(default_factory=list)
    costs: list[ProviderCost] = field(default_factory=list)
    read_at: datetime = field(default_factory=clock.now)

    def tell(
        self,
        account: ProviderAccount,
        day: date,
        key: str,
        model: str,
        *,
        calls: int,
        counts: tuple[int, int, int],
    ) -> None:
        """Tell of one key and model on a day: its volume, and what it costs there."""
        inp, cached, out = counts
        version = {"read_at": self.read_at, "data_refreshed_at": self.read_at, "final": True}
        self.usage.append(
            ProviderUsage(
                account=account, day=day, upstream_key=key, model_name=f"{model}-2026-05-01", requests=calls,
                input_tokens=inp, cached_tokens=cached, output_tokens=out, **version,
            )
        )  # fmt: skip
        input_usd, output_usd = (Decimal(usd) / 1_000_000 for usd in PRICES[model])
        there_usd = output_usd * self._dearer(day, model)
        if key not in {"key_bob", "apikey_bob"}:
            self.planted.price_usd[account.public_id] += out * (there_usd - output_usd)
        else:
            self.planted.unknown_usd[account.public_id] += inp * input_usd + out * there_usd
        for item, amount in (("input", (inp - cached) * input_usd), ("cached input", cached * input_usd),
                             ("output", out * there_usd)):  # fmt: skip
            self.costs.append(
                ProviderCost(
                    account=account, day=day, upstream_key=key, line_item=f"{model}, {item}",
                    model_name=f"{model}-2026-05-01", amount_usd=amount, **version,
                )
            )  # fmt: skip

    def _dearer(self, day: date, model: str) -> Decimal:
        if model == "small" and day >= self.planted.change_day:
            return DEARER
        return A_LITTLE_DEARER if model == "larger" and day == self.planted.first_day else Decimal(1)


PRICES = {"small": ("0.15", "0.60"), "large": ("2.50", "10"), "larger": ("3", "15"), "frontier": ("15", "75")}


def _providers(cast: Cast, planted: Planted, counted: list[Any]) -> None:
    figures = _Figures(cast=cast, planted=planted)
    openai, anthropic = planted.accounts
    for number, source, model, through, inp, cached, out in counted:
        day = planted.first_day + timedelta(days=number)
        is_first = source == planted.sources[0]
        account = openai if model in {"small", "large"} else anthropic
        key = ("key_eu" if is_first else "key_us") if account == openai else "apikey_eu"
        calls, counts = through, [int(inp), int(cached), int(out)]
        if model == "frontier" and is_first:  # somebody copied the gateway's key
            calls += SHARED_CALLS
            counts[0] += SHARED_CALLS * SHARED_INPUT
            counts[2] += SHARED_CALLS * SHARED_OUTPUT
            _expect(planted, CLASS.BYPASS_SHARED_KEY, account, day, f"{key} {model}")
        if model == "large" and not is_first and number % 3 == 0:  # clients left before the end
            counts[2] += counts[2] // 20
            _expect(planted, CLASS.TOKEN_MISMATCH, account, day, f"{key} {model}")
        figures.tell(account, day, key, model, calls=calls, counts=(counts[0], counts[1], counts[2]))
    for day in planted.each_day():
        for account, key, models in (
            (openai, "key_bob", ("small", "large")),
            (anthropic, "apikey_bob", ("larger",)),
        ):
            _expect(planted, CLASS.BYPASS_UNKNOWN_KEY, account, day, key)
            for model in models:
                counts_of_bob = (UNKNOWN_CALLS * UNKNOWN_INPUT, 0, UNKNOWN_CALLS * UNKNOWN_OUTPUT)
                figures.tell(account, day, key, model, calls=UNKNOWN_CALLS, counts=counts_of_bob)
        figures.tell(openai, day, "key_research", "large", calls=7, counts=(7_000, 0, 700))
        if day >= planted.change_day:
            _expect(planted, CLASS.PRICE_CHANGE, openai, day, "small")
    _expect(planted, CLASS.PRICE_MISMATCH, anthropic, planted.first_day, "larger")
    ProviderUsage.objects.bulk_create(figures.usage)
    ProviderCost.objects.bulk_create(figures.costs)


def _expect(planted: Planted, kind: DiscrepancyClass, account: ProviderAccount, day: date, what: str) -> None:
    planted.faults.add((kind.value, f"{account.public_id} {day}", what))
