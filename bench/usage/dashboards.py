"""How long the figures of a page take on many stored calls: from the roll-up, and from the calls."""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from django.db import connection

from bench.results import Result
from bench.usage.sizes import Size
from bench.usage.stored import store
from bench.usage.world import Callers
from usage import selectors

ROUNDS = 7
RAW_ROUNDS = 1
# Stand before the tables of the same name for this session: the selectors read single calls without a change,
# and no folded day.
RAW = """
    CREATE TEMPORARY VIEW usage_day AS
    SELECT 0::bigint AS id, (at AT TIME ZONE 'UTC')::date AS day, key_id, owner_id, project_id, team_id,
      department_id, model_id, tier_id, calls::bigint AS calls, cost_usd, input_tokens, cached_tokens,
      cache_write_tokens, output_tokens, reasoning_tokens
    FROM usage_event;
    CREATE TEMPORARY VIEW usage_folded AS SELECT NULL::date AS until WHERE false
"""


def u2_dashboards(size: Size) -> Iterator[Result]:
    """Give the milliseconds of the slowest figure of a page, and how much faster than single calls it is."""
    callers = Callers()
    store(callers, size.events)
    figures = _figures(callers)
    rolled = {name: _median_milliseconds(act, ROUNDS) for name, act in figures.items()}
    with connection.cursor() as cursor:
        cursor.execute(RAW)
    raw = {name: _median_milliseconds(act, RAW_ROUNDS) for name, act in figures.items()}
    for name, taken in rolled.items():
        print(f"  {name:24} {taken:8.1f} ms, from single calls {raw[name]:10.1f} ms", flush=True)
    judged = size.judges_events
    slowest = max(rolled.values())
    yield Result(name="slowest_figure_ms", value=slowest, bar=50, at_least=False, judged=judged)
    yield Result(
        name="roll_up_vs_single_calls",
        value=min(raw[name] / taken for name, taken in rolled.items()),
        bar=10,
        judged=judged,
    )


def _figures(callers: Callers) -> dict[str, Callable[[], Any]]:
    """Return what the Overview, a team's and a project's page ask, the busiest of each."""
    team, project = callers.group.teams[0], callers.group.projects[0]
    organisation, of_team = selectors.organisation_scope(), selectors.team_scope(team)
    of_project = selectors.project_scope(project)
    month = selectors.last_days(selectors.organisation_today(), 30)
    keys = [key.pk for key in callers.keys[:5]]
    return {
        "organisation overview": lambda: selectors.overview(organisation),
        "organisation by model": lambda: selectors.by_model(organisation, month),
        "organisation totals": lambda: selectors.totals(organisation, month),
        "team overview": lambda: selectors.overview(of_team),
        "team by project": lambda: selectors.by_project(of_team, month),
        "project by day": lambda: selectors.spend_by_day(of_project, month),
        "project by key": lambda: selectors.by_key(of_project, month),
        "project by model": lambda: selectors.by_model(of_project, month),
        "keys": lambda: selectors.key_use(keys),
    }


def _median_milliseconds(act: Callable[[], Any], rounds: int) -> float:
    act()  # warm
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        act()
        times.append((time.perf_counter() - start) * 1_000)
    return statistics.median(times)
