"""Reads which projects have come to spend more than they usually do."""

from datetime import datetime, timedelta

from django.db.models import QuerySet

from core import clock
from teams.models import Project, User
from usage.models import SpendWarning
from usage.types import Scope

OPEN_FOR = timedelta(hours=24)
SHOWN = 3


def visible_warnings(user: User) -> QuerySet[SpendWarning]:
    """Return the warnings about projects that the user may see."""
    projects = Project.objects.visible_to(user).order_by()
    return SpendWarning.objects.filter(project__in=projects.values("pk"))


def open_warnings(scope: Scope, *, at: datetime | None = None) -> list[SpendWarning]:
    """Return the warnings of the last day about projects of a scope, the latest first, at most three."""
    since = (at or clock.now()) - OPEN_FOR
    projects = Project.objects.filter(scope.projects).order_by()
    found = SpendWarning.objects.filter(warned_at__gt=since, project__in=projects.values("pk"))
    latest = found.order_by("project_id", "-pk").distinct("project_id").values("pk")
    return list(found.filter(pk__in=latest).select_related("project").order_by("-pk")[:SHOWN])
