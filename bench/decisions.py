"""Speed of the decision calls, T1 to T6: every figure is a ratio of two sides that are loaded in turn, round
by round, and the median of its rounds.

The portal stands as `make run` starts it, two processes at one socket; so do both processes of a baseline.
"""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from bench.environment import FSYNC_MICROSECONDS, Services, gunicorn, portal
from bench.load import Gateway, Job, Seen, run
from bench.results import Result
from bench.sizes import Size
from bench.world import World, vacuum

AUTHORIZE = "/gateway/v1/authorize"
FIRST_CALLS = 4_000
# A round may be faster than the one before; a load that runs out of calls ends early, which is no harm.
MORE_CALLS = 1.5
THREADS = 4
TWIN_THREADS = 2  # more only wait for each other's locks and for the interpreter
MANY = 256
HOSTS = 4
# A host delivers a fifth of a second after the first call, so a round of one second would be counted from
# before its first delivery, and end with up to a batch of each host under way.
SECONDS_OF_DELIVERIES = 3
FIRST_DELIVERED = 40_000  # ready for the first rounds, in which a load that ran out would count too little


@dataclass(slots=True)
class Side:
    """One of two that are compared: its load, what its answers have to be, and what prepares a round."""

    name: str
    job: Job
    answers: tuple[str, ...]
    before: Callable[[], None] = lambda: None
    least: int = 0  # calls to have ready, whatever the round before it took

    def load(self, seconds: float) -> Seen:
        """Run one round, as many calls ready as it may need."""
        self.before()
        seen = run(replace(self.job, seconds=seconds))
        seen.expect_only(*self.answers)
        most = int(MORE_CALLS * seen.per_second * seconds) + FIRST_CALLS
        self.job = replace(self.job, most=max(most, self.least))
        return seen


def compare(
    size: Size, measured: Side, base: Side, *, of: Callable[[Seen], float] = lambda seen: seen.per_second
) -> float:
    """Load both in turn and return the median ratio of the rounds.

    The first warms both up and fills the tables; then they are vacuumed and analysed, as autovacuum does
    after a minute, so that no plan is made for empty tables.
    """
    ratios = []
    for number in range(size.rounds + 1):
        base_seen, seen = base.load(size.seconds), measured.load(size.seconds)
        if number:
            ratios.append(of(seen) / of(base_seen))
            print(f"  {_told(measured, seen)} | {_told(base, base_seen)}", flush=True)
        else:
            vacuum()
    return statistics.median(ratios)


def t1_authorize(running: Services, size: Size) -> Iterator[Result]:
    """Durable authorisations on a hot team against a bare Django view."""
    gateway = _hot_team()
    with gunicorn("bench.hello:application", threads=THREADS) as hello, portal() as port:
        for connections, bar in ((256, 1.5), (32, 1.0)):
            ratio = compare(size, authorize(port, gateway, connections=connections), _get(hello, connections))
            name = f"authorize_vs_django_hello c={connections}"
            yield Result(name=name, value=ratio, bar=bar, judged=size.judged)


def t2_pairs(running: Services, size: Size) -> Iterator[Result]:
    """Authorisations with their settlement against the same view; a pair is two calls and counts once."""
    gateway = _hot_team()
    longer = replace(size, seconds=SECONDS_OF_DELIVERIES * size.seconds)
    with gunicorn("bench.hello:application", threads=THREADS) as hello, portal() as port:
        ratio = compare(longer, _delivered(port, gateway), _get(hello, MANY))
        yield Result(name="pairs_vs_django_hello c=256", value=ratio, bar=1.0, judged=size.judged)
        ratio = compare(size, _pairs(port, gateway), _get(hello, MANY))
        yield Result(name="pairs_in_two_requests_vs_django_hello c=256", value=ratio, bar=1.0, judged=False)


def t3_twin(running: Services, size: Size) -> Iterator[Result]:
    """The same authorisations against Django REST framework, ORM and row locks, all on one hot team."""
    gateway = _hot_team()
    with gunicorn("bench.twins.wsgi:application", threads=TWIN_THREADS) as twin_port, portal() as port:
        side = authorize(twin_port, gateway)
        twin = replace(side, name="DRF + ORM + row locks", job=replace(side.job, path="/authorize"))
        # After each round of the twin 256 calls are still due, which take it seconds: fewer rounds do.
        fewer = replace(size, rounds=min(size.rounds, 3))
        ratio = compare(fewer, authorize(port, gateway), twin)
        yield Result(name="authorize_vs_drf_orm_locks c=256", value=ratio, bar=20.0, judged=size.judged)


def t4_hot_team(running: Services, size: Size) -> Iterator[Result]:
    """A thousand keys of one team against a thousand keys of a thousand teams."""
    world = World()
    hot = world.load_gateway(world.add("hot", teams=1, projects=10, keys=100).tokens)
    spread = world.load_gateway(world.add("spread", teams=1_000, projects=1, keys=1).tokens)
    with portal() as port:
        measured, base = authorize(port, hot), authorize(port, spread)
        measured.name, base.name = "hot team", "1,000 teams"
        ratio = compare(size, measured, base)
        yield Result(name="hot_team_vs_1000_teams c=256", value=ratio, bar=0.7, judged=size.judged)


def t5_slow_fsync(running: Services, size: Size) -> Iterator[Result]:
    """The same load while each fsync takes ten times as long."""
    gateway = _hot_team()
    with portal() as port:
        slow, usual = authorize(port, gateway), authorize(port, gateway)
        slow.name, usual.name = "fsync 1 ms", "fsync 100 us"
        slow.before = lambda: running.fsync.set(microseconds=1_000)
        usual.before = lambda: running.fsync.set(microseconds=FSYNC_MICROSECONDS)
        ratio = compare(size, slow, usual)
        yield Result(
            name="authorize_1ms_vs_100us_fsync c=256",
            value=ratio,
            bar=0.6,
            judged=size.judged and running.fsync.is_fixed,
        )


def t6_one_connection(running: Services, size: Size) -> Iterator[Result]:
    """What one waiting caller waits, half of the time at most, against a bare DRF view."""
    gateway = _hot_team()
    with gunicorn("bench.drf_hello:application", threads=THREADS) as hello, portal() as port:
        ratio = compare(
            size, authorize(port, gateway, connections=1), _get(hello, 1), of=lambda seen: seen.median_seconds
        )
        yield Result(
            name="p50_authorize_vs_drf_hello c=1", value=ratio, bar=3.0, at_least=False, judged=size.judged
        )


def _hot_team() -> Gateway:
    world = World()
    return world.load_gateway(world.add("hot", teams=1, projects=10, keys=100).tokens)


def _get(port: int, connections: int) -> Side:
    job = Job(port=port, path="/hello", kind="get", connections=connections, seconds=0, most=FIRST_CALLS)
    return Side(name="hello", job=job, answers=("get 200",))


def authorize(port: int, gateway: Gateway, *, connections: int = MANY) -> Side:
    """Return the side that asks a portal for decisions."""
    job = Job(
        port=port,
        path=AUTHORIZE,
        kind="authorize",
        connections=connections,
        seconds=0,
        most=FIRST_CALLS,
        gateway=gateway,
    )
    return Side(name="authorize", job=job, answers=("authorize 200",))


def _pairs(port: int, gateway: Gateway) -> Side:
    side = authorize(port, gateway)
    return Side(name="pairs", job=replace(side.job, kind="pairs"), answers=("authorize 200", "settle 200"))


def _delivered(port: int, gateway: Gateway) -> Side:
    side = authorize(port, gateway)
    return Side(
        name="pairs",
        job=replace(side.job, kind="delivered", hosts=HOSTS, most=FIRST_DELIVERED),
        answers=("authorize 200", "settle 200"),
        least=FIRST_DELIVERED,
    )


def _told(side: Side, seen: Seen) -> str:
    return (
        f"{side.name} {seen.per_second:.0f}/s, p50 {seen.median_seconds * 1000:.2f} ms, "
        f"client {seen.cpu_share:.0%} of a core"
    )
