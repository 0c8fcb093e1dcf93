from typing import Any

from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    name = "approvals"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Let the end of a key or a grant close what waits for it."""
        from keys.ports import access_ended  # noqa: PLC0415  models are loaded now

        access_ended.connect(close_what_waits, dispatch_uid="approvals")


def close_what_waits(**ended: Any) -> None:
    """Close what waits to go on with a key or a grant that has ended."""
    # Imported when it is needed: a settings module of few apps, such as a benchmark's, has not all it needs.
    from approvals.services.closing import close_requests_of_key  # noqa: PLC0415

    close_requests_of_key(**ended)
