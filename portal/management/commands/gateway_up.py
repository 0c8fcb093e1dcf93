"""`manage.py gateway_up`: a LiteLLM gateway on this machine, in front of a fake provider, until Ctrl-C."""

from __future__ import annotations

import http.client
import os
import secrets
import signal
import socket
import time
from argparse import ArgumentParser
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError

from catalog.selectors import everyday_reference
from core import clock
from gateway.litellm_env import GatewayEnvironmentError, ensure_environment, process_environment
from gateway.management.commands.gateway_config import ENVIRONMENT_FILE, read_environment
from portal.local import Foreground, LocalServicesError
from portal.places import snippets

HOME = Path(settings.BASE_DIR) / ".local" / "gateway"
PROVIDER = Path(settings.BASE_DIR) / "tests" / "fakes" / "provider.py"
START_SECONDS = 90.0


class Command(BaseCommand):
    """Start LiteLLM in its own environment, configured for the running portal, before a fake provider."""

    help = "Start LiteLLM in front of a fake provider, configured for the running portal. Ctrl-C stops both."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--upstream", help="The address of a provider, instead of the fake one.")

    def handle(self, *_arguments: Any, **options: Any) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)
        try:
            with ExitStack() as stack:
                self._run(stack, upstream=options["upstream"])
        except KeyboardInterrupt:
            self.stdout.write("Stopped.")
        except (GatewayEnvironmentError, LocalServicesError) as error:
            raise CommandError(str(error)) from error

    def _run(self, stack: ExitStack, *, upstream: str | None) -> None:
        programs = ensure_environment(HOME / "venv", say=self.stdout.write)
        port = urlsplit(settings.GATEWAY_PUBLIC_URL).port or 4000
        _require_free(port)
        foreground = Foreground(say=self.stdout.write)
        stack.callback(foreground.stop)
        key = secrets.token_urlsafe(24)
        if upstream is None:
            provider_port = _free_port()
            upstream = f"http://127.0.0.1:{provider_port}"
            provider: list[str | Path] = [programs / "python", PROVIDER, str(provider_port)]
            foreground.start(
                "provider", provider, environment=process_environment({"FAKE_PROVIDER_KEY": key})
            )
        out = HOME / "litellm"
        self._configure(out, upstream)
        command: list[str | Path] = [programs / "litellm", "--config", out / "config.yaml"]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        own = {
            "UPSTREAM_API_KEY": os.environ.get("UPSTREAM_API_KEY", key),
            **read_environment(out / ENVIRONMENT_FILE),
        }
        foreground.start("litellm", command, environment=process_environment(own))
        self._attend(foreground, port)

    def _configure(self, out: Path, upstream: str) -> None:
        try:
            call_command("gateway_config", "litellm", out=out, upstream=upstream, stdout=self.stdout)
        except OperationalError as error:
            raise CommandError(
                f"The portal's database does not answer. Start the portal first: make run. ({error})"
            ) from error

    def _attend(self, foreground: Foreground, port: int) -> None:
        """Pass on what is printed until something ends; print the address once it is served."""
        deadline, announced = time.monotonic() + START_SECONDS, False
        while True:
            if ended := foreground.tick():
                raise CommandError(
                    f"'{ended}' has ended by itself, so everything is stopped. Its last words are above."
                )
            if not announced and _is_ready(port):
                announced = True
                self.stdout.write(_announcement(port))
                self.stdout.flush()
            if not announced and time.monotonic() > deadline:
                raise CommandError(f"LiteLLM is not ready after {START_SECONDS:.0f} s. Its output is above.")


def _announcement(port: int) -> str:
    base_url = f"http://127.0.0.1:{port}"
    cheapest = everyday_reference(at=clock.now())
    return (
        f"\nThe gateway is ready: OPENAI_BASE_URL={base_url}/v1. Ctrl-C stops it.\n"
        f"Keys and models are in Purser: {settings.BASE_URL}. A first call, with the secret of a key:\n\n"
        f"export PURSER_KEY=psr_live_...\n"
        f"{snippets.curl(base_url=base_url, model=cheapest.name if cheapest else '')}\n\n"
    )


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise CommandError(
                f"Port {port} of 127.0.0.1 cannot be used: {error.strerror}. Stop what uses it,"
                f" or choose another: GATEWAY_PUBLIC_URL=http://127.0.0.1:{port + 1} make gateway"
            ) from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/health/liveliness")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
