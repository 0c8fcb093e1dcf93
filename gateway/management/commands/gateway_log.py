"""`manage.py gateway_log litellm --gateway NAME --place ADDRESS`: have an ordinary log of a gateway read."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core.errors import InvalidInputError
from gateway.models import Gateway, LogKind
from gateway.services import close_log, register_log


class Command(BaseCommand):
    """Register the log of a gateway, or close it."""

    help = "Have LiteLLM's spend logs or nginx's access log of a gateway read every minute (docs/sources.md)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("kind", choices=[kind.value for kind in LogKind])
        parser.add_argument("--gateway", required=True, help="The gateway's name in Purser.")
        parser.add_argument("--place", help="The address of LiteLLM, or the path of nginx's log.")
        parser.add_argument(
            "--credential", default="", help="Where LiteLLM's admin key is: env:NAME or file:/path."
        )
        parser.add_argument("--close", action="store_true", help="Read it no more.")

    def handle(self, *_arguments: Any, **options: Any) -> None:
        gateway = Gateway.objects.filter(name=options["gateway"]).first()
        if gateway is None:
            raise CommandError(f"There is no gateway named {options['gateway']}.")
        if options["close"]:
            for log in gateway.logs.filter(kind=options["kind"], closed_at=None):
                close_log(actor=None, log=log)
                self.stdout.write(f"{log} is read no more.")
            return
        if not options["place"]:
            raise CommandError("Say where the log is with --place.")
        try:
            log = register_log(
                actor=None,
                gateway=gateway,
                kind=LogKind(options["kind"]),
                place=options["place"],
                admin_credential=options["credential"],
            )
        except InvalidInputError as error:
            raise CommandError(error.detail) from error
        self.stdout.write(f"{log} ({log.public_id}) is read every minute.")
