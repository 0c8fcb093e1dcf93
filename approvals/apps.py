from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    name = "approvals"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Let the end of a key or a grant close what waits for it."""
        from approvals.services.closing import close_requests_of_key  # noqa: PLC0415  models are loaded now
        from keys.ports import access_ended  # noqa: PLC0415

        access_ended.connect(close_requests_of_key, dispatch_uid="approvals")
