"""`manage.py up`: everything that Purser needs on one machine, in the foreground, until Ctrl-C."""

from __future__ import annotations

import hashlib
import http.client
import multiprocessing
import os
import signal
import socket
import sys
import time
from argparse import ArgumentParser
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from portal.local import Foreground, LocalServices, LocalServicesError, default_environment, end_with_parent

LOCAL = Path(settings.BASE_DIR) / ".local"
SIGN_INS = LOCAL / "demo-sign-ins.txt"
LAST_PORT = LOCAL / "port"  # `make gateway` reads it
LOG_CONFIG = Path(settings.BASE_DIR) / "portal" / "local" / "uvicorn-logging.json"
SLOW_START_SECONDS = 30.0
# The API answers JSON alone, so the browsable API's files are served to nobody.
UNUSED_STATIC_FILES = ("rest_framework",)
LISTEN_BACKLOG = 2048
# Everything here runs as the user who starts it, root included: Celery need not say so at every start.
NO_ROOT_WARNING = ("-W", "ignore::UserWarning:celery.platforms")


class Command(BaseCommand):
    """Start the embedded services, web, worker and beat, and stop all of them together."""

    help = "Start Purser on this machine: database, queue, web, worker and beat. Ctrl-C stops all of it."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--stop-with-parent",
            action="store_true",
            help="End when the process that started this one is killed (make run uses it).",
        )

    def handle(self, *_arguments: Any, **options: Any) -> None:
        if options["stop_with_parent"]:
            end_with_parent(signal.SIGKILL)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)
        try:
            with ExitStack() as stack:
                self._run(stack)
        except KeyboardInterrupt:
            self._say("Stopped.")
        except LocalServicesError as error:
            raise CommandError(str(error)) from error

    def _run(self, stack: ExitStack) -> None:
        started_at = time.monotonic()
        listener = stack.enter_context(listen(settings.PORT))
        services = self._start_services(stack)
        _prepare()
        foreground = Foreground(say=self._say)
        stack.callback(foreground.stop)
        _start_processes(foreground, listener)
        slow_after = time.monotonic() + SLOW_START_SECONDS
        announced = False
        while True:
            ended = foreground.tick() or (services and services.ended())
            if ended:
                raise CommandError(
                    f"'{ended}' has ended by itself, so everything is stopped. Its last words are above."
                )
            announced = announced or self._announce(started_at)
            if not announced and time.monotonic() > slow_after:
                slow_after = float("inf")
                self._say(f"Not ready after {SLOW_START_SECONDS:.0f} s; still trying. {_readiness()[1]}")

    def _say(self, line: str) -> None:
        """Print one line at once: whoever reads a pipe wants it now."""
        self.stdout.write(line)
        self.stdout.flush()

    def _start_services(self, stack: ExitStack) -> LocalServices | None:
        """Start those embedded services that the environment does not replace."""
        base_dir = Path(settings.BASE_DIR)
        embedded = default_environment(base_dir)
        wanted = {name: os.environ.get(name) == embedded[name] for name in ("DATABASE_URL", "REDIS_URL")}
        if not any(wanted.values()):
            return None
        services = LocalServices(base_dir)
        services.start(with_postgres=wanted["DATABASE_URL"], with_valkey=wanted["REDIS_URL"])
        stack.callback(services.stop)
        return services

    def _announce(self, started_at: float) -> bool:
        """Print the address and the sign-ins once the portal says that it is ready; say whether it did."""
        if _readiness()[0] != http.client.OK:
            return False
        seconds = time.monotonic() - started_at
        LAST_PORT.write_text(f"{settings.PORT}\n")
        self._say(f"\nPurser is ready at {settings.BASE_URL} ({seconds:.1f} s). Ctrl-C stops it.")
        if SIGN_INS.exists():
            self._say(SIGN_INS.read_text())
        return True


def _prepare() -> None:
    """Bring the database up to date, in a process of its own: this one goes on without what that takes.

    Raises CommandError when it fails.
    """
    process = multiprocessing.get_context("fork").Process(target=_bring_up_to_date)
    process.start()
    try:
        process.join()
    finally:
        process.kill()
    if process.exitcode:
        raise CommandError("The database could not be brought up to date. What went wrong stands above.")


def _bring_up_to_date() -> None:
    end_with_parent(signal.SIGKILL)
    call_command("migrate", interactive=False, verbosity=0)
    _collect_static_files()
    call_command("seed_demo", if_empty=True)


def _collect_static_files() -> None:
    """Collect and compress the static files, unless the same ones were collected before."""
    sources = [
        (path, Path(storage.path(path)).stat())
        for finder in get_finders()
        for path, storage in finder.list(list(UNUSED_STATIC_FILES))
    ]
    text = repr(sorted((path, status.st_mtime_ns, status.st_size) for path, status in sources))
    fingerprint = hashlib.sha256(text.encode()).hexdigest()
    stamp = LOCAL / "static-files-collected"
    if stamp.exists() and stamp.read_text() == fingerprint:
        return
    call_command("collectstatic", interactive=False, verbosity=0, ignore_patterns=list(UNUSED_STATIC_FILES))
    stamp.write_text(fingerprint)


def listen(port: int) -> socket.socket:
    """Bind the address that all web processes share, before anything is started."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Connections inherit it. uvicorn takes an inherited socket for a Unix one and leaves it out, and then the
    # body of a small answer waits 40 ms for the client to acknowledge its head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise CommandError(
            f"Port {port} of 127.0.0.1 cannot be used: {error.strerror}."
            f" Stop what uses it, or choose another port: PORT={port + 1} make run"
        ) from error
    listener.listen(LISTEN_BACKLOG)
    return listener


def _start_processes(foreground: Foreground, listener: socket.socket) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    web = web_command(listener)
    for number in range(1, _web_processes() + 1):
        foreground.start(f"web-{number}", web, environment=environment, inherited=[listener.fileno()])
    celery = [sys.executable, *NO_ROOT_WARNING, "-m", "celery", "--app", "portal", "--quiet"]
    worker = ["worker", "--pool", "threads", "--concurrency", "2", "--loglevel", "warning"]
    worker += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    foreground.start("worker", [*celery, *worker], environment=environment)
    beat = ["beat", "--schedule", str(LOCAL / "beat-schedule"), "--pidfile", "", "--loglevel", "warning"]
    foreground.start("beat", [*celery, *beat], environment=environment)


def web_command(listener: socket.socket) -> list[str]:
    """Return the command line of one web process that accepts at the shared socket."""
    command = [sys.executable, "-m", "uvicorn", "portal.asgi:application", "--fd", str(listener.fileno())]
    command += ["--http", "portal.asgi:DecisionProtocol"]
    command += ["--log-config", str(LOG_CONFIG), "--no-access-log", "--no-server-header"]
    return [*command, "--timeout-graceful-shutdown", "5"]


def _web_processes() -> int:
    return max(1, settings.WEB_WORKERS or os.cpu_count() or 1)


def _readiness() -> tuple[int, str]:
    """Ask /readyz; status 0 means that nothing answered."""
    request = http.client.HTTPConnection("127.0.0.1", settings.PORT, timeout=5)
    try:
        request.request("GET", "/readyz", headers={"Host": urlsplit(settings.BASE_URL).netloc})
        answer = request.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)
    finally:
        request.close()
