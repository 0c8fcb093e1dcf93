"""A job of a killed worker is queued again, none is while it runs, and one that hangs stops no other."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery.schedules import crontab
from django.conf import settings

from core.deadline import seconds_left
from portal.celery import app
from portal.local.processes import HAS_DEATH_SIGNAL, ChildProcesses
from tests.portal import hanging

OPTIONS: dict[str, Any] = settings.CELERY_BROKER_TRANSPORT_OPTIONS
SLOTS = 2
WITHIN_SECONDS = 90.0


def jobs() -> list[Any]:
    app.loader.import_default_modules()
    app.finalize()
    return [task for name, task in sorted(app.tasks.items()) if not name.startswith("celery.")]


@pytest.mark.parametrize("job", jobs(), ids=lambda job: job.name)
def test_a_job_ends_within_a_minute_long_before_it_is_queued_again(job: Any) -> None:
    """A queued-again job is one whose worker was killed, never one that still runs."""
    seconds = job.time_limit or settings.CELERY_TASK_TIME_LIMIT
    assert seconds <= 60 < OPTIONS["visibility_timeout"] / 2
    assert (job.soft_time_limit or settings.CELERY_TASK_SOFT_TIME_LIMIT) < seconds
    assert job.acks_late


@pytest.mark.parametrize("job", jobs(), ids=lambda job: job.name)
def test_the_statements_of_a_job_end_before_it_is_cut_off(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[float] = []
    monkeypatch.setattr(job, "run", lambda: left.append(seconds_left()))
    seconds = job.time_limit or settings.CELERY_TASK_TIME_LIMIT
    job()
    assert seconds / 2 < left[0] < seconds
    assert seconds_left() == float("inf")


MINUTE, TEN_MINUTES = 60.0, 600.0
EVERY = {
    "gateway.pull_usage": MINUTE,
    "gateway.pull_logs": MINUTE,
    "gateway.pull_reports": MINUTE,
    "usage.expire_holds": 15.0,
    "usage.stop_runaways": MINUTE,
    "usage.tell_of_forecasts": TEN_MINUTES,
    "usage.watch_spend": 300.0,
    "portal.drain_outbox": 10.0,
    "portal.seal_audit": MINUTE,
    "portal.verify_ledger": MINUTE,
    "portal.verify_audit": MINUTE,
    "usage.reconcile_recent_days": TEN_MINUTES,
    "usage.reconcile_new_figures": TEN_MINUTES,
}


def test_the_alarms_of_the_books_ring_as_often_as_is_promised() -> None:
    rings = {entry["task"]: entry["schedule"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    assert {task: rings[task] for task in EVERY} == EVERY
    assert rings["usage.recount_yesterday"] == crontab(hour=1, minute=40)


def test_jobs_of_a_killed_worker_are_queued_again_and_looked_for_with_every_poll() -> None:
    assert app.conf.task_acks_late
    assert app.conf.task_reject_on_worker_lost
    assert app.conf.worker_prefetch_multiplier == 1
    assert app.conf.broker_transport_options == OPTIONS
    assert OPTIONS["unacked_restore_throttle"] == 1


def test_every_job_of_the_schedule_is_there() -> None:
    assert {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()} <= set(app.tasks)


def test_an_alarm_is_dropped_when_the_next_one_rings_and_no_sooner_than_clocks_may_differ() -> None:
    for entry in settings.CELERY_BEAT_SCHEDULE.values():
        every = 3_600.0 if isinstance(entry["schedule"], crontab) else entry["schedule"]
        assert entry["options"]["expires"] == max(every, 660.0)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Start a worker as `make run` does, on a queue of its own; give it with the name of the queue."""
    queue = f"hanging-{uuid4().hex}"
    command = [sys.executable, "-m", "celery", "--app", "tests.portal.hanging", "--quiet", "worker"]
    command += ["--pool", "threads", "--concurrency", str(SLOTS), "--queues", queue, "--loglevel", "warning"]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    with (tmp_path / "worker.log").open("wb") as log:
        process = ChildProcesses().start(
            command, on_owner_death=signal.SIGKILL, output=log, working_directory=settings.BASE_DIR
        )
    yield process, queue
    process.kill()
    process.wait()


def test_a_job_that_hangs_ends_at_its_limit_and_the_others_go_on(
    worker: tuple[subprocess.Popen[bytes], str], tmp_path: Path
) -> None:
    process, queue = worker
    begun, done = tmp_path / "begun", tmp_path / "done"
    for _ in range(SLOTS):
        hanging.hang.apply_async((str(begun),), queue=queue)
    hanging.work.apply_async((str(done),), queue=queue)

    deadline = time.monotonic() + WITHIN_SECONDS
    while not done.exists() and time.monotonic() < deadline:
        time.sleep(0.1)

    log = (tmp_path / "worker.log").read_text()
    assert begun.read_text() == "." * SLOTS, log
    assert done.read_text() == str(int(signal.SIGKILL) if HAS_DEATH_SIGNAL else 0), log
    assert process.poll() is None, log
    assert log.count("job.hung") == 1, log
