from django.apps import AppConfig


class PortalConfig(AppConfig):
    name = "portal"

    def ready(self) -> None:
        """Register the deploy checks, and let what allauth stamps by this machine's clock be stamped by
        everybody's.
        """
        from allauth.account.signals import authentication_step_completed  # noqa: PLC0415  needs the apps

        from portal import checks  # noqa: F401, PLC0415  registered by being imported, when the apps are there
        from teams.sign_in import stamp_sign_in  # noqa: PLC0415  as above

        authentication_step_completed.connect(stamp_sign_in)
