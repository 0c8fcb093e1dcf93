from datetime import datetime
from typing import Any

from django.apps import AppConfig
from django.db.models import QuerySet, Value


class ApprovalsConfig(AppConfig):
    name = "approvals"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Let the end of a key or a grant close what waits for it, and what was lent be read with roles."""
        from keys.ports import access_ended  # noqa: PLC0415  models are loaded now
        from teams.ports import lent_roles  # noqa: PLC0415

        access_ended.connect(close_what_waits, dispatch_uid="approvals")
        lent_roles.connect(rows_of_lent, dispatch_uid="approvals")


def close_what_waits(**ended: Any) -> None:
    """Close what waits to go on with a key or a grant that has ended."""
    # Imported when it is needed: a settings module of few apps, such as a benchmark's, has not all it needs.
    from approvals.services.closing import close_requests_of_key  # noqa: PLC0415

    close_requests_of_key(**ended)


def rows_of_lent(*, user: Any, at: datetime | None, **_: Any) -> QuerySet[Any, Any]:
    """Return the rows of what is lent to a person, or was at `at`."""
    from approvals.models import lent_to  # noqa: PLC0415
    from teams.ports import STANDS_IN  # noqa: PLC0415

    return lent_to(user, at).order_by().values_list(Value(STANDS_IN), "team_id", "department_id")
