"""A job of a killed worker is queued again, and none is while it still runs."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings

from portal.celery import app

OPTIONS: dict[str, Any] = settings.CELERY_BROKER_TRANSPORT_OPTIONS


def jobs() -> list[Any]:
    app.loader.import_default_modules()
    app.finalize()
    return [task for name, task in sorted(app.tasks.items()) if not name.startswith("celery.")]


@pytest.mark.parametrize("job", jobs(), ids=lambda job: job.name)
def test_a_job_that_is_queued_again_after_its_worker_was_killed_is_over_long_before(job: Any) -> None:
    """One that may take longer is not queued again: the next night comes."""
    seconds = job.time_limit or settings.CELERY_TASK_TIME_LIMIT
    assert seconds < OPTIONS["visibility_timeout"] / 2 or not job.acks_late
    assert (job.soft_time_limit or settings.CELERY_TASK_SOFT_TIME_LIMIT) < seconds


def test_jobs_of_a_killed_worker_are_queued_again_and_looked_for_with_every_poll() -> None:
    assert app.conf.task_acks_late
    assert app.conf.task_reject_on_worker_lost
    assert app.conf.worker_prefetch_multiplier == 1
    assert app.conf.broker_transport_options == OPTIONS
    assert OPTIONS["unacked_restore_throttle"] == 1


def test_every_job_of_the_schedule_is_there() -> None:
    assert {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()} <= set(app.tasks)
