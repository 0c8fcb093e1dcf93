from django.apps import AppConfig


class TeamsConfig(AppConfig):
    name = "teams"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Let what allauth stamps by this machine's clock be stamped by everybody's."""
        from allauth.account.signals import authentication_step_completed  # noqa: PLC0415  needs the models

        from teams.sign_in import stamp_sign_in  # noqa: PLC0415  as above

        authentication_step_completed.connect(stamp_sign_in)
