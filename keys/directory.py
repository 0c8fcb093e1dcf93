"""Keys as pages of other apps need them: what they may call, and what people call them."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Max, OuterRef, QuerySet
from django.db.models.functions import JSONObject, Least

from catalog.ports import ProjectAccess
from core import clock
from keys.models import ApiKey, Grant
from teams.models import Project, User


def projects_with_grants(user: User) -> list[ProjectAccess]:
    """Return the projects that the person works in, with what his own keys may call there now. One query."""
    workable = Project.objects.workable_by(user)
    projects: QuerySet[Any] = workable.annotate(granted=ArraySubquery(_granted(user)))
    return [
        ProjectAccess(
            name=project.name,
            code=project.code,
            public_id=project.public_id,
            granted_until={each["tier"]: datetime.fromisoformat(each["until"]) for each in project.granted},
        )
        for project in projects
    ]


def key_labels(user: User, key_ids: Collection[int]) -> dict[int, str]:
    """Return the labels, such as `nightly of Ada Moreno`, of those keys that the user may see. One query."""
    rows = ApiKey.objects.visible_to(user).filter(pk__in=key_ids).values_list("pk", "name", "owner__name")
    return {pk: f"{name} of {owner}" for pk, name, owner in rows}


def _granted(user: User) -> QuerySet[Grant, Any]:
    """Give the tiers granted to the person's usable keys of a project, each with its last end."""
    now = clock.now()
    in_force = Grant.objects.filter(
        key__project=OuterRef("pk"),
        key__owner=user,
        key__revoked_at__isnull=True,
        key__suspended_at__isnull=True,
        key__expires_at__gt=now,
        revoked_at__isnull=True,
        starts_at__lte=now,
        expires_at__gt=now,
    )
    ends = in_force.order_by().values("tier_id").annotate(until=Max(Least("expires_at", "key__expires_at")))
    return ends.values(pair=JSONObject(tier="tier_id", until="until"))
