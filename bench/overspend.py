"""T7: can 64 clients spend more than a budget has? And can they spend all of it?

Budgets of a fraction of a call up to ten and a half calls, asked for with and without max_tokens, once and
with every request repeated at once under the same id. The naive twin, which reads, checks and adds, shows
that the load finds such a hole where there is one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import product

from django.db.models import F, Max, QuerySet

from bench.decisions import AUTHORIZE
from bench.environment import Services, gunicorn, portal
from bench.load import Job, Seen, start
from bench.results import Result
from bench.sizes import Size
from bench.world import Group, World, call_usd
from budgets.models import Balance, Reservation
from core.money import ZERO

CLIENTS = 64
PROCESSES = 2
CALLS_A_CLIENT = 4
CALLS_IN_BUDGET = (Decimal("0.1"), Decimal(1), Decimal("3.5"), Decimal("10.5"))
MAX_TOKENS = (100, None)
COPIES = (1, 2)
NAIVE_THREADS = 32
LONGEST_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One budget on every scope of one key, and the calls that compete for it."""

    group: Group
    calls: Decimal
    max_tokens: int | None
    copies: int
    call_usd: Decimal

    @property
    def limit_usd(self) -> Decimal:
        return self.calls * self.call_usd


def t7_overspend(running: Services, size: Size) -> Iterator[Result]:
    """Give what was overspent by the portal and by the naive twin, in calls, and what was wrongly refused."""
    world = World()
    plans = list(product(CALLS_IN_BUDGET, MAX_TOKENS, COPIES))
    cases = [_case(world, number, *plan) for number, plan in enumerate(plans)]
    with portal(workers=PROCESSES) as port:
        for case in cases:
            _check_answers(case, _compete(world, case, port, AUTHORIZE))
    yield Result(
        name=f"overspent_calls clients={CLIENTS} processes={PROCESSES} budgets={len(cases)}",
        value=_overspent(cases),
        bar=0,
        at_least=False,
    )
    yield Result(name="fitting_calls_refused", value=_refused(cases), bar=0, at_least=False)
    naive = [_case(world, len(plans) + number, calls, 100, 1) for number, calls in enumerate(CALLS_IN_BUDGET)]
    with gunicorn("bench.twins.wsgi:application", threads=NAIVE_THREADS, workers=PROCESSES) as port:
        for case in naive:
            _check_answers(case, _compete(world, case, port, "/naive"))
    yield Result(
        name=f"overspent_calls_by_the_naive_twin budgets={len(naive)}", value=_overspent(naive), bar=1
    )


def _case(world: World, number: int, calls: Decimal, max_tokens: int | None, copies: int) -> Case:
    """Make a key whose budgets hold so many of these calls, with everything that they were asked for."""
    cost = call_usd(max_tokens or world.tier.default_max_output_tokens)
    group = world.add(f"case-{number}", teams=1, projects=1, keys=1, limit=calls * cost)
    return Case(group=group, calls=calls, max_tokens=max_tokens, copies=copies, call_usd=cost)


def _compete(world: World, case: Case, port: int, path: str) -> list[Seen]:
    """Let all clients ask at once, from two processes."""
    job = Job(
        port=port,
        path=path,
        kind="authorize",
        connections=CLIENTS // PROCESSES,
        seconds=LONGEST_SECONDS,
        most=CLIENTS // PROCESSES * CALLS_A_CLIENT,
        gateway=world.load_gateway(case.group.tokens),
        max_output_tokens=case.max_tokens,
        copies=case.copies,
        records=True,
    )
    return [load.seen() for load in [start(job) for _ in range(PROCESSES)]]


def _check_answers(case: Case, loads: Sequence[Seen]) -> None:
    """Hold the answers against the table: allowed or refused for money, and a repeated call held once."""
    for seen in loads:
        seen.expect_only("authorize 200", "authorize 429")
    told = {reservation for seen in loads for reservation in seen.allowed}
    held = set(_holds(case).values_list("public_id", flat=True))
    if told != held:
        raise RuntimeError(f"{len(told)} reservations were answered and {len(held)} are held")


def _holds(case: Case) -> QuerySet[Reservation]:
    return Reservation.objects.filter(key_id=case.group.keys[0].pk)


def _overspent(cases: Sequence[Case]) -> float:
    """Return by how many calls the fullest balances are over their limits, all cases together."""
    over = ZERO
    for case in cases:
        balances = Balance.objects.filter(budget__in=case.group.budgets)
        most = balances.aggregate(usd=Max(F("spent_usd") + F("reserved_usd")))["usd"] or ZERO
        over += max(most - case.limit_usd, ZERO) / case.call_usd
    return float(over)


def _refused(cases: Sequence[Case]) -> float:
    """Return how many whole calls of the budgets found no place, all cases together."""
    return sum(max(int(case.calls) - _holds(case).count(), 0) for case in cases)
