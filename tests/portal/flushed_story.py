"""Empties Valkey again and again while calls go on, alarms ring and a worker works; then looks at the books.

Run it with `manage.py shell -c "from tests.portal.flushed_story import tell; tell()"`, in an installation of
its own: everything that its Valkey holds is lost.
"""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import timedelta
from decimal import Decimal

import redis
from django.conf import settings
from django.db import transaction
from django.test import Client
from django.test.utils import setup_test_environment

from budgets.models import Balance, Reservation, ReservationState, ScopeKind
from core import clock, outbox
from core.models import DeliveryAttempt, Outbox
from portal import ledger
from portal.celery import app
from tests.gateway.conftest import World, build_world
from tests.signing import open_session

ROUNDS = 12
FITS = 20  # calls that hold $0.0012 each
LIMIT_USD = "0.024"
WITHIN_SECONDS = 120.0
ALARMS = ("usage.expire_holds", "portal.drain_outbox", "usage.reclaim_leases", "portal.heartbeat")


def tell() -> None:
    """Go through the whole story."""
    setup_test_environment()
    world = build_world()
    world.budget("key", kind=ScopeKind.KEY, limit=LIMIT_USD)
    valkey = redis.Redis.from_url(settings.REDIS_URL)
    client = Client()
    open_session(client, world.ada)
    _queue_is_lost(world, valkey)
    command = [sys.executable, "-m", "celery", "--app", "portal", "--quiet", "worker", "--pool", "threads"]
    command += ["--concurrency", "2", "--loglevel", "error", "--without-gossip", "--without-mingle"]
    worker = subprocess.Popen(command)
    try:
        allowed = _flush_while_it_works(world, valkey, client)
        _until_nothing_is_due()
        assert worker.poll() is None
    finally:
        worker.kill()
        worker.wait()
    _look(allowed)
    print("told")


def _queue_is_lost(world: World, valkey: redis.Redis) -> None:
    """Let alarms be queued that nobody heard: they are gone with the queue, and their work is not."""
    _news(0)
    _ring()
    assert valkey.llen("purser:celery") == len(ALARMS)
    valkey.flushall()
    assert valkey.llen("purser:celery") == 0
    assert Outbox.objects.filter(delivered_at=None).count() == 1


def _flush_while_it_works(world: World, valkey: redis.Redis, client: Client) -> int:
    """Return how many calls were allowed while all that Valkey had went again and again."""
    allowed = 0
    for number in range(1, ROUNDS + 1):
        _news(number)
        _ring()
        answers = [world.gus.authorize(world.token) for _ in range(3)]
        valkey.flushall()
        reserved = [answer.json()["reservation"] for answer in answers if answer.status_code == 200]
        assert {answer.status_code for answer in answers} <= {200, 429}
        allowed += len(reserved)
        for reservation in reserved[:1]:
            assert world.gus.settle(reservation).json()["status"] == "settled"
        _overdue(reserved[1:])
        _ring()
        valkey.flushall()
        assert client.get("/keys/").status_code == 200
        assert client.get("/readyz").status_code == 200
    return allowed


def _news(number: int) -> None:
    with transaction.atomic():
        outbox.put_mail(
            topic="key.revoked",
            recipient="ada@example.com",
            dedupe_key=f"flushed:{number}",
            subject="A key ended",
            body="It did.",
            link="/keys/",
        )


def _overdue(reservations: list[str]) -> None:
    old = clock.now() - timedelta(hours=2)
    Reservation.objects.filter(public_id__in=reservations, state=ReservationState.OPEN).update(
        authorized_at=old, expires_at=old + timedelta(minutes=1)
    )


def _ring() -> None:
    """Do what beat does."""
    for alarm in ALARMS:
        app.send_task(alarm)


def _until_nothing_is_due() -> None:
    """Let the next alarms ring: the worker finds by looking at tables what the lost ones were about."""
    deadline = time.monotonic() + WITHIN_SECONDS
    while _due():
        assert time.monotonic() < deadline, _due()
        _ring()
        time.sleep(0.5)


def _due() -> int:
    open_calls = Reservation.objects.filter(state=ReservationState.OPEN).count()
    return open_calls + Outbox.objects.filter(delivered_at=None).count()


def _look(allowed: int) -> None:
    """Hold that nothing was lost, doubled or spent above the limit."""
    assert Outbox.objects.count() == ROUNDS + 1
    assert DeliveryAttempt.objects.filter(delivered=True).count() == ROUNDS + 1
    assert Reservation.objects.count() == allowed > FITS / 2
    for balance in Balance.objects.all():
        assert balance.spent_usd <= Decimal(LIMIT_USD), balance
        assert balance.reserved_usd == 0
    assert not ledger.verify().findings, ledger.lines(ledger.verify().findings)
