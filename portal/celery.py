"""The Celery application: an alarm clock. PostgreSQL is the record, so losing the queue loses no work."""

import os

from celery import Celery

from portal.hung import HungJobs

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

app = Celery("portal")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
HungJobs(app).watch()
