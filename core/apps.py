from django.apps import AppConfig
from django.db.backends.signals import connection_created

from core.timekeeping import Timekeeper

timekeeper = Timekeeper()


class CoreConfig(AppConfig):
    name = "core"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Let every process go by the database's clock."""
        connection_created.connect(timekeeper.ask)
