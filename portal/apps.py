from django.apps import AppConfig


class PortalConfig(AppConfig):
    name = "portal"

    def ready(self) -> None:
        """Register the deploy checks, and let what allauth stamps and reads by this machine's clock go by
        everybody's.
        """
        from allauth.account.signals import authentication_step_completed  # noqa: PLC0415  needs the apps
        from allauth.mfa.totp.internal import auth as totp  # noqa: PLC0415  as above

        from portal import checks  # noqa: F401, PLC0415  registered by being imported, when the apps are there
        from teams.sign_in import counters_now, stamp_sign_in  # noqa: PLC0415  as above

        authentication_step_completed.connect(stamp_sign_in)
        totp.yield_hotp_counters_from_time = counters_now  # it has no setting for it
