from django.apps import AppConfig


class PortalConfig(AppConfig):
    name = "portal"

    def ready(self) -> None:
        """Register the deploy checks."""
        from portal import checks  # noqa: F401, PLC0415  registered by being imported, when the apps are there
