"""How long a day of a gateway is reconciled, against reading both of its sides once, and its memory."""

import resource
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from bench.results import Result
from bench.usage.sizes import Size
from core import clock
from usage.models import ImportCursor, ReconciliationRun
from usage.services import make_partitions, reconcile_day

SOURCE = "gw_bench"
SCANS_BAR, MEGABYTES_BAR = 6, 300
ROUNDS = 3
KILOBYTE = 1024

# Both sides of one day. One call in 10,000 has other tokens at the gateway, all of them in two hours of it.
EVENTS = """
    INSERT INTO usage_event (source, external_id, at, recorded_at, key_id, owner_id, project_id, team_id,
      department_id, model_id, tier_id, calls, cost_usd, input_tokens, cached_tokens, cache_write_tokens,
      output_tokens, reasoning_tokens, finish, cache_hit, estimated, late, provider_call_id)
    SELECT %(source)s, 'rsv_' || lpad(n::text, 28, '0'),
      %(start)s::timestamptz + n * interval '1 day' / %(rows)s, %(start)s, 1 + n %% 500, 1, 1 + n %% 50, 1, 1,
      1, 1, 1, 0.001 + n %% 97 * 0.0001, 200 + n %% 4000, n %% 100, 0, 20 + n %% 900, 0,
      'stop', false, false, false, 'resp-' || n
    FROM generate_series(0, %(rows)s - 1) AS n
"""
JOURNAL = """
    INSERT INTO usage_gateway_call (source, external_id, at, pulled_at, model_name, finish, cache_hit,
      released, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_usd,
      provider_call_id)
    SELECT source, external_id, at, recorded_at, 'bench', finish, cache_hit, false,
      input_tokens + CASE WHEN extract(hour FROM at AT TIME ZONE 'UTC') IN (7, 15)
                           AND hashtext(external_id) %% 833 = 0 THEN 10 ELSE 0 END,
      cached_tokens, 0, output_tokens, 0, cost_usd, provider_call_id FROM usage_event
"""
SCAN = "SELECT count(*), sum(input_tokens), sum(output_tokens), sum(cost_usd) FROM {table}"


def u3_reconcile(size: Size) -> Iterator[Result]:
    """Give how many times two bare scans the reconciliation of a day takes, and its resident memory."""
    rows, judged = size.rows, size.judges_rows
    day = clock.now().astimezone(UTC).date() - timedelta(days=1)
    start = datetime.combine(day, datetime.min.time(), tzinfo=UTC)
    make_partitions()
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        for statement in (EVENTS, JOURNAL):
            cursor.execute(statement, {"source": SOURCE, "start": start, "rows": rows})
        cursor.execute("VACUUM ANALYZE usage_call, usage_gateway_call")
    ImportCursor.objects.create(source=SOURCE, last_success_at=clock.now())
    before = _megabytes()
    first, again, scans = [], [], []
    for _ in range(ROUNDS):  # by turns, so that all of them see the same machine
        ReconciliationRun.objects.update(no_twins="")
        first.append(_seconds(lambda: reconcile_day(source=SOURCE, day=day)))
        again.append(_seconds(lambda: reconcile_day(source=SOURCE, day=day)))
        scans.append(_seconds(_scan_both))
    found = reconcile_day(source=SOURCE, day=day).discrepancies.count()
    told = ", ".join(f"{name} {min(times):.2f} s" for name, times in (("first", first), ("again", again)))
    print(f"  {rows:,} calls: {told}, two scans {min(scans):.2f} s", flush=True)
    print(f"  {found} differences; {before:.0f} MB before, {_megabytes():.0f} MB at most", flush=True)
    for name, times in (("reconcile_vs_scans", first), ("reconcile_again_vs_scans", again)):
        ratio = min(times) / min(scans)
        yield Result(name=name, value=ratio, bar=SCANS_BAR, at_least=False, judged=judged)
    yield Result(
        name="reconcile_megabytes", value=_megabytes(), bar=MEGABYTES_BAR, at_least=False, judged=judged
    )


def _scan_both() -> None:
    with connection.cursor() as cursor:
        for table in ("usage_event", "usage_gateway_call"):
            cursor.execute(SCAN.format(table=table))
            cursor.fetchone()


def _seconds(act: Callable[[], Any]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KILOBYTE
