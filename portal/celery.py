"""The Celery application: an alarm clock. PostgreSQL is the record, so losing the queue loses no work."""

import os
from typing import Any

from celery import Celery
from celery.contrib.django.task import DjangoTask

from core.deadline import ends_within
from portal.hung import HungJobs

STATEMENTS_SHARE = 0.9  # of a job's time: its statements end before it is cut off


class Job(DjangoTask[Any, Any]):
    """A job whose statements end within its time."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Do it."""
        limit_seconds = self.time_limit or self.app.conf.task_time_limit
        with ends_within(limit_seconds * STATEMENTS_SHARE):
            return super().__call__(*arguments, **named)


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

app = Celery("portal", task_cls=Job)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
HungJobs(app).watch()
