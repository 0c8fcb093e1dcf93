"""Is it working: the checks behind /healthz, /readyz and the status page.

Without its database or with migrations missing the portal is not ready (503). A stopped queue, worker or
beat makes it degraded (200): pages and decisions need none of them, and taking a working portal out of the
load balancer would help nobody.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache, partial
from http import HTTPStatus

import redis
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, HttpResponse, JsonResponse

from core import clock, outbox, seal, walks
from core.models import Walk
from portal import nightly
from portal.audit import verification
from usage.models import ImportCursor, SourceKind
from usage.services import RECOUNT

HEARTBEAT_KEY = "purser:heartbeat"
HEARTBEAT_STALE_SECONDS = 60
PULL_STALE_SECONDS = 600
OUTBOX_STALE_SECONDS = 300
SEAL_STALE_SECONDS = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One answer: is it all right, must it be, and a sentence."""

    name: str
    ok: bool
    essential: bool
    detail: str


@lru_cache(maxsize=1)
def _queue() -> "redis.Redis":
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1, decode_responses=True
    )


def beat() -> None:
    """Write down that the scheduler scheduled and a worker worked."""
    _queue().set(HEARTBEAT_KEY, clock.now().isoformat())


def checks() -> list[Check]:
    """Run every check; a check that cannot run is a check that failed."""
    database = _check("database", _database, essential=True)
    if not database.ok:
        return [database, _check("queue", _queue_answers, essential=False)]
    nights = cache(partial(walks.last_of, (nightly.NAME, RECOUNT, verification.NAME)))
    return [
        database,
        _check("migrations", _migrations, essential=True),
        _check("queue", _queue_answers, essential=False),
        _check("worker and beat", _heartbeat, essential=False),
        _check("usage pull", _pull, essential=False),
        _check("outbox", _outbox, essential=False),
        _check("ledger", lambda: _ledger(nights().get(nightly.NAME)), essential=False),
        _check("usage roll-up", lambda: _recount(nights().get(RECOUNT)), essential=False),
        _check("audit seal", _seal, essential=False),
        _check("audit", lambda: _audit(nights().get(verification.NAME)), essential=False),
    ]


@login_not_required
def healthz(request: HttpRequest) -> HttpResponse:
    """Say that the process answers; asks nobody else."""
    return JsonResponse({"status": "alive", "version": settings.VERSION})


@login_not_required
def readyz(request: HttpRequest) -> HttpResponse:
    """Say whether this process can serve, and what is stale."""
    results = checks()
    ready = all(check.ok for check in results if check.essential)
    status = "not_ready" if not ready else "ready" if all(check.ok for check in results) else "degraded"
    response = JsonResponse(
        {"status": status, "version": settings.VERSION, "checks": [asdict(check) for check in results]},
        status=HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE,
    )
    response["Cache-Control"] = "no-store"
    return response


def _check(name: str, run: Callable[[], tuple[bool, str]], *, essential: bool) -> Check:
    try:
        ok, detail = run()
    except (DatabaseError, redis.RedisError, OSError) as error:
        ok, detail = False, f"{type(error).__name__}: not reachable"
    return Check(name=name, ok=ok, essential=essential, detail=detail)


def _database() -> tuple[bool, str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version')")
        return True, f"PostgreSQL {cursor.fetchone()[0]}"


def _migrations() -> tuple[bool, str]:
    applied = MigrationRecorder(connection).migration_qs.values_list("app", "name")
    missing = _known_migrations() - set(applied)
    return not missing, f"{len(missing)} missing: run manage.py migrate" if missing else "all applied"


@cache
def _known_migrations() -> frozenset[tuple[str, str]]:
    """Return the migrations that this process came with; reading them takes longer than asking for them."""
    return frozenset(MigrationLoader(None).graph.nodes)


def _queue_answers() -> tuple[bool, str]:
    _queue().ping()
    return True, "answers"


def _heartbeat() -> tuple[bool, str]:
    last = _queue().get(HEARTBEAT_KEY)
    if last is None:
        return False, "never seen: are the worker and the beat of Celery running?"
    age_seconds = (clock.now() - datetime.fromisoformat(str(last)).astimezone(UTC)).total_seconds()
    return age_seconds <= HEARTBEAT_STALE_SECONDS, f"seen {age_seconds:.0f} s ago"


def _pull() -> tuple[bool, str]:
    cursors = list(ImportCursor.objects.filter(kind=SourceKind.JOURNAL, closed_at=None))
    if not cursors:
        return True, "no gateway is pulled yet"
    lags = [
        ((clock.now() - item.last_success_at).total_seconds() if item.last_success_at else float("inf"))
        for item in cursors
    ]
    worst = max(lags)
    if worst == float("inf"):
        return False, "a gateway has never been read"
    return worst <= PULL_STALE_SECONDS, f"the stalest gateway was read {worst:.0f} s ago"


def _outbox() -> tuple[bool, str]:
    oldest = outbox.due().order_by("next_attempt_at").values_list("next_attempt_at", flat=True).first()
    if oldest is None:
        return True, "nothing is waiting"
    age_seconds = (clock.now() - oldest).total_seconds()
    return age_seconds <= OUTBOX_STALE_SECONDS, f"the oldest message has been due for {age_seconds:.0f} s"


def _ledger(walk: Walk | None) -> tuple[bool, str]:
    if walk is None or walk.ended_at is None:
        return True, "not verified yet; runs every night, or now with manage.py ledger_verify"
    if walk.outcome["found"]:
        return False, f"does not recompute: {', '.join(walk.outcome['found'])}. Run manage.py ledger_verify"
    return not walks.is_missed(walk.ended_at), f"verified {_age_seconds(walk.ended_at) / 3600:.0f} h ago"


def _recount(walk: Walk | None) -> tuple[bool, str]:
    if walk is None or walk.ended_at is None:
        return True, "not recounted yet; runs every night"
    found = walk.outcome
    if found["differing"]:
        return (
            False,
            f"{found['day']} differs from its calls by ${found['usd']}, in {found['differing']:,} rows",
        )
    return not walks.is_missed(walk.ended_at), f"{found['day']} recounted: {found['calls']:,} calls"


def _seal() -> tuple[bool, str]:
    oldest = seal.oldest_unsealed()
    if oldest is None:
        return True, "every event is sealed"
    age_seconds = (clock.now() - oldest).total_seconds()
    return age_seconds <= SEAL_STALE_SECONDS, f"the oldest event not sealed is {age_seconds:.0f} s old"


def _audit(walk: Walk | None) -> tuple[bool, str]:
    verified = verification.verified_by(walk)
    if verified is None:
        return True, "not verified yet; runs every night, or now with manage.py audit_verify"
    if verified.broken:
        return False, f"{verified.broken:,} not as sealed. Run manage.py audit_verify"
    return not walks.is_missed(verified.at), f"verified {_age_seconds(verified.at) / 3600:.0f} h ago"


def _age_seconds(at: datetime) -> float:
    return (clock.now() - at).total_seconds()
