"""The whole house for one story: web, worker and beat, a real LiteLLM Proxy before a fake provider, and a
browser.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.contrib.auth.hashers import ScryptPasswordHasher
from django.core.management import call_command
from django.db import connections
from playwright.sync_api import Browser, sync_playwright
from pytest_django import DjangoDbBlocker, Settings

from core import seal
from gateway.management.commands.gateway_config import ENVIRONMENT_FILE, read_environment
from gateway.models import Gateway
from portal import ledger
from teams.models import User
from tests import emptying, factories
from tests.cast import Cast, make_cast
from tests.gateways.conftest import PROVIDER_KEY
from tests.gateways.litellm.conftest import programs  # noqa: F401  the fixture
from tests.gateways.servers import ROOT, Server, free_port, portal_server, provider_server
from tests.usage.books import set_aside

# Playwright's synchronous interface keeps an event loop in this thread, in which Django would refuse to work.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PASSWORD = "a password of the tests, 2026"


@pytest.fixture
def clean_books(
    transactional_db: None, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """After every story the ledger recomputes, and the audit verifies as it was sealed."""
    settings.AUDIT_ANCHOR_DIR = str(tmp_path / "anchors")
    monkeypatch.setenv("AUDIT_ANCHOR_DIR", settings.AUDIT_ANCHOR_DIR)  # of the processes that a story starts
    yield
    assert ledger.verify().findings == ()
    seal.seal_due()
    verified = seal.verify()
    assert (verified.broken, verified.unsealed) == ((), 0)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a headless Chromium of the system; without one the browser tests are skipped, and say so.

    One for each file: its event loop lives in this thread, where the files after it want none.
    """
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("BROWSER TESTS SKIPPED: install the package 'chromium' to run them.")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=BROWSER_FLAGS)
        yield running
        # While the loop runs, Django keeps other connections for this thread than it does before and after.
        connections.close_all()
        running.close()


@pytest.fixture(scope="session")
def static_files() -> None:
    """Collect what browsers load, once."""
    subprocess.run(
        [sys.executable, "manage.py", "collectstatic", "--noinput", "-v", "0"], cwd=ROOT, check=True
    )


@pytest.fixture(scope="module")
def portal(
    django_db_setup: None, static_files: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Return the portal's web process, one for all tests of a file."""
    server = portal_server(log=tmp_path_factory.mktemp("portal") / "web.log")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def demo(django_db_setup: None, django_db_blocker: DjangoDbBlocker, portal: Server) -> Iterator[Server]:
    """Return the portal's web process on the demo organisation, which the tests of a file share.

    They change it as people do, each in a place of its own. Five of its people have PASSWORD.
    """
    with django_db_blocker.unblock(), tempfile.TemporaryDirectory() as directory:
        call_command("seed_demo", verbosity=0, sign_ins=Path(directory) / "sign-ins.txt")
        for name in ("ada", "ann", "ben", "fay", "grace"):
            with_password(User.objects.get(email=f"{name}@northwind.example"))
        factories.UnpricedCallFactory.create(model__name="unpriced-model", calls=12)
        for call in ("call-1", "call-2", "call-3"):
            set_aside("gw_gone", call)
    yield portal
    with django_db_blocker.unblock():
        emptying.restore()


def with_password(person: User) -> None:
    """Give somebody PASSWORD as the web process knows it: this process has fast hashers only."""
    person.password = ScryptPasswordHasher().encode(PASSWORD, "salt-of-the-tests")
    person.save()


@dataclass
class House:
    """Everything that runs, and who works there."""

    cast: Cast
    portal: Server
    proxy: Server
    provider: Server
    gateway: Gateway


@pytest.fixture
def house(clean_books: None, static_files: None, programs: Path, tmp_path: Path) -> Iterator[House]:  # noqa: F811
    """Start everything on a fresh organisation with the real catalogue, stop it at the end."""
    cast = make_cast()
    for person in (cast.ada, cast.ben, cast.cleo, cast.fay):
        with_password(person)
    call_command("import_prices", verbosity=0)
    portal = portal_server(log=tmp_path / "web.log")
    portal.environment |= {"PULL_EVERY_SECONDS": "2", "ALERT_EVERY_SECONDS": "2", "WEB_WORKERS": "1"}
    running = [portal]
    try:
        portal.start()
        provider = provider_server(log=tmp_path / "provider.log", key=PROVIDER_KEY)
        running.append(provider)
        provider.start()
        proxy = _litellm(portal, provider, programs, tmp_path)
        running += [proxy, *_clockwork(portal, tmp_path)]
        proxy.start()
        for server in running[3:]:
            server.start()
        yield House(cast=cast, portal=portal, proxy=proxy, provider=provider, gateway=Gateway.objects.get())
    finally:
        for server in reversed(running):
            server.stop()


def _litellm(portal: Server, provider: Server, bin_directory: Path, tmp_path: Path) -> Server:
    """Configure LiteLLM with the command that an operator uses."""
    port, out = free_port(), tmp_path / "litellm"
    url = f"http://127.0.0.1:{port}"
    call_command(
        "gateway_config",
        "litellm",
        out=out,
        base_url=url,
        portal_url=portal.url,
        upstream=provider.url,
        verbosity=0,
    )
    environment = {
        **read_environment(out / ENVIRONMENT_FILE),
        "UPSTREAM_API_KEY": PROVIDER_KEY,
        "PURSER_PUBLIC_URL": portal.url,
    }
    command: list[str | Path] = [
        bin_directory / "litellm",
        "--config",
        out / "config.yaml",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    return Server(
        command, port=port, health="/health/liveliness", environment=environment, log=out / "output.log"
    )


def _clockwork(portal: Server, tmp_path: Path) -> list[Server]:
    """Return a Celery worker and beat; they answer on the portal's /healthz, having no port of their own."""
    celery: list[str | Path] = [sys.executable, "-m", "celery", "--app", "portal", "--quiet"]
    worker = [*celery, "worker", "--pool", "threads", "--concurrency", "2", "--loglevel", "info"]
    beat = [*celery, "beat", "--schedule", str(tmp_path / "beat"), "--pidfile", "", "--loglevel", "info"]
    return [
        Server(
            command,
            port=portal.port,
            health="/healthz",
            environment=portal.environment,
            log=tmp_path / f"{name}.log",
        )
        for name, command in (("worker", worker), ("beat", beat))
    ]
