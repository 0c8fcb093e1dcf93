"""Web and worker as processes of a machine whose clock is ten minutes off: what they decide on a moment is
what the database's clock says.

A small C library, compiled here and preloaded, sets their clock off. Where that cannot be, this is skipped.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.conf import settings
from django.contrib.sessions.models import Session
from django.test import Client

from approvals.models import AccessRequest, RequestStatus
from budgets.models import Budget, BudgetLimit, Lease, Mode, Reservation, ReservationState, ScopeKind, Window
from core import clock
from gateway.auth import credential_of, signed_headers
from gateway.models import Gateway
from keys.models import ApiKey
from portal.celery import app
from portal.sessions import SessionName
from tests import factories
from tests.api.world import open_budget
from tests.cast import Cast, make_cast
from tests.e2e.conftest import PASSWORD, static_files, with_password  # noqa: F401  the fixture
from tests.gateway.test_lapse import database_now
from tests.gateways.servers import Server, eventually, portal_server
from tests.signing import code_for, session_of, sign_in

LITTLE = timedelta(minutes=5)
SOURCE = Path(__file__).with_name("other_clock.c")
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile what sets a clock off."""
    compiler = shutil.which("cc")
    if not sys.platform.startswith("linux") or compiler is None:
        pytest.skip("SKEWED NODES NOT TRIED: they need Linux and a C compiler 'cc'.")
    made = tmp_path_factory.mktemp("clock") / "other_clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", made, SOURCE, "-ldl"], check=True)
    return made


@dataclass
class Node:
    """A machine whose clock is `off`, and what the database's clock said when it was ready."""

    cast: Cast
    off: timedelta
    now: datetime
    web: Server
    worker: Server
    gateway: Gateway

    def call(self, path: str, body: Mapping[str, object], *, at: datetime | None = None) -> requests.Response:
        """Send what a gateway signs at a moment, or now."""
        raw = json.dumps(body).encode()
        signed = signed_headers(
            credential=credential_of(self.gateway),
            method="POST",
            target=path,
            body=raw,
            now_seconds=(at or clock.now()).timestamp(),
        )
        headers = {**signed, "Content-Type": "application/json"}
        return requests.post(self.web.url + path, raw, headers=headers, timeout=60)

    def authorize(self, token: str, name: str, **more: Any) -> int:
        """Ask for one call of the small model; return the status."""
        body = {
            "request_id": f"request-{name}",
            "key": token,
            "model": "small",
            "route": "/v1/chat/completions",
        }
        return self.call(
            "/gateway/v1/authorize", {**body, "input_bytes": 1000, "max_output_tokens": 100}, **more
        ).status_code

    def key(self) -> tuple[ApiKey, str]:
        """Make a key of Ada's that is in use."""
        key = factories.ApiKeyFactory.create(project=self.cast.ranking, owner=self.cast.ada)
        return key, factories.revealed(key)

    def browser(self, client: Client | None = None) -> requests.Session:
        """Open a browser here, with the cookie of somebody who signed in elsewhere."""
        made = requests.Session()
        if client is not None:
            name = settings.SESSION_COOKIE_NAME
            made.cookies.set(name, client.cookies[name].value)
        return made

    def send(self, browser: requests.Session, path: str, **fields: str) -> requests.Response:
        """Fill in a form of a page and send it."""
        page = browser.get(self.web.url + path, timeout=60)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        assert token, (page.status_code, page.text[:500])
        fields["csrfmiddlewaretoken"] = token[1]
        return browser.post(self.web.url + path, fields, allow_redirects=False, timeout=60)


@pytest.fixture(params=[-10, 10], ids=["ten minutes behind", "ten minutes ahead"])
def node(
    request: pytest.FixtureRequest,
    library: Path,
    static_files: None,  # noqa: F811
    tmp_path: Path,
) -> Iterator[Node]:
    """Start a web process and a worker whose clock is off."""
    cast, off = make_cast(), timedelta(minutes=request.param)
    web = portal_server(log=tmp_path / "web.log", MFA_REQUIRED="true")
    web.environment |= {"LD_PRELOAD": str(library), "OTHER_CLOCK": str(int(off.total_seconds()))}
    command = [sys.executable, "-m", "celery", "--app", "portal", "--quiet", "worker", "--pool", "solo"]
    worker = Server(
        command, port=web.port, health="/healthz", environment=web.environment, log=tmp_path / "worker.log"
    )
    gateway = Gateway.objects.create(name="gus", live_versions=[1])
    try:
        web.start()
        worker.start()
        yield Node(cast=cast, off=off, now=database_now(), web=web, worker=worker, gateway=gateway)
    finally:
        worker.stop()
        web.stop()


def test_machine_whose_clock_is_off_decides_as_all_others_do(node: Node) -> None:
    """One story for all, since the processes take longest to start."""
    stamped = parsedate_to_datetime(requests.get(f"{node.web.url}/healthz", timeout=60).headers["Date"])
    assert abs(stamped - node.now - node.off) < timedelta(minutes=2), "the control: its clock is off"

    calls_are_signed_and_held_by_the_databases_clock(node)
    limits_begin_by_the_databases_clock(node)
    sessions_and_codes_are_good_by_the_databases_clock(node)
    requests_are_decided_by_the_databases_clock(node)
    jobs_end_what_has_ended_and_nothing_else(node)


def calls_are_signed_and_held_by_the_databases_clock(node: Node) -> None:
    _, token = node.key()
    assert node.authorize(token, "by-its-own-clock", at=node.now + node.off) == 401
    assert node.authorize(token, "by-the-databases") == 200
    held = Reservation.objects.get()
    hold = timedelta(seconds=settings.HOLD_SECONDS)
    assert abs(held.expires_at - database_now() - hold) < timedelta(minutes=1)

    wish = {
        "node": "node-1",
        "key": token,
        "model": "small",
        "route": "/v1/chat/completions",
        "want_usd": "1",
    }
    open_budget(node.cast, ScopeKind.PROJECT, node.cast.ranking.pk, "500")
    lent = node.call("/gateway/v1/leases", wish)
    assert lent.status_code == 200, lent.text
    left = Lease.objects.get().expires_at - database_now()
    assert abs(left - timedelta(seconds=float(lent.json()["seconds"]))) < timedelta(minutes=1)


def limits_begin_by_the_databases_clock(node: Node) -> None:
    """Almost nothing may be spent since five minutes ago, or from in five minutes on."""
    answers = []
    for begins in (LITTLE, -LITTLE):
        key, token = node.key()
        budget = Budget.objects.create(
            scope_kind=ScopeKind.KEY, scope_id=key.pk, department=node.cast.product, mode=Mode.HARD,
            window=Window.DAY,
        )  # fmt: skip
        for amount, since in (("5", node.now - timedelta(hours=1)), ("0.000001", node.now + begins)):
            BudgetLimit.objects.create(
                budget=budget, amount_usd=Decimal(amount), valid_from=since, reason="A test."
            )
        answers.append(node.authorize(token, f"limit-{begins.total_seconds()}"))
    assert answers == [200, 429]


def sessions_and_codes_are_good_by_the_databases_clock(node: Node) -> None:
    opened = []
    for ends_in in (LITTLE, -LITTLE):
        client = Client()
        sign_in(client, node.cast.ada)
        name = SessionName(client.cookies[settings.SESSION_COOKIE_NAME].value)
        Session.objects.filter(session_key=name).update(expire_date=node.now + ends_in)
        page = node.browser(client).get(f"{node.web.url}/keys/", allow_redirects=False, timeout=60)
        opened.append(page.status_code)
    assert opened == [200, 302]

    with_password(node.cast.ben)
    secret = generate_totp_secret()
    TOTP.activate(node.cast.ben, secret)
    browser = node.browser()
    node.send(browser, "/accounts/login/", login=node.cast.ben.email, password=PASSWORD)
    of_its_clock = code_for(secret, lambda: _seconds_now(off=node.off))
    refused = node.send(browser, "/accounts/2fa/authenticate/", code=of_its_clock)
    assert refused.status_code == 200
    assert browser.get(f"{node.web.url}/approvals/", allow_redirects=False, timeout=60).status_code == 302
    taken = node.send(browser, "/accounts/2fa/authenticate/", code=code_for(secret, _seconds_now))
    assert taken.status_code == 302
    assert browser.get(f"{node.web.url}/approvals/", allow_redirects=False, timeout=60).status_code == 200

    here, token = Client(), str(browser.cookies[settings.SESSION_COOKIE_NAME])
    here.cookies[settings.SESSION_COOKIE_NAME] = token
    for record in session_of(here)["account_authentication_methods"]:
        assert abs(record["at"] - database_now().timestamp()) < 60
    lasts = Session.objects.get(session_key=SessionName(token)).expire_date - database_now()
    assert abs(lasts - timedelta(seconds=settings.SESSION_COOKIE_AGE)) < timedelta(minutes=1)


def _seconds_now(*, off: timedelta = timedelta()) -> float:
    """Return what a clock shows that is so far off the database's."""
    return (database_now() + off).timestamp()


def requests_are_decided_by_the_databases_clock(node: Node) -> None:
    client = Client()
    TOTP.activate(node.cast.cleo, generate_totp_secret())
    sign_in(client, node.cast.cleo, method="mfa")
    answers = []
    for tier, left in ((node.cast.tier3, LITTLE), (node.cast.tier2, -LITTLE)):
        asked = waiting(node, tier, left)
        browser = node.browser(client)
        browser.get(f"{node.web.url}/approvals/{asked.public_id}/", timeout=60)
        verdict: dict[str, Any] = {"verdict": "deny", "comment": "No.", "seen_revision": 1}
        answer = browser.post(
            f"{node.web.url}/api/v1/requests/{asked.public_id}/decide/",
            json=verdict,
            headers={"X-CSRFToken": str(browser.cookies["csrftoken"])},
            timeout=60,
        )
        answers.append(answer.status_code)
    assert answers == [200, 410]


def waiting(node: Node, tier: Any, left: timedelta) -> AccessRequest:
    """Return a request of Ada's of two days ago that can be decided so long from now."""
    return factories.AccessRequestFactory.create(
        requester=node.cast.ada,
        project=node.cast.ranking,
        tier=tier,
        created_at=node.now - timedelta(days=2),
        decide_by=node.now + left,
    )


def jobs_end_what_has_ended_and_nothing_else(node: Node) -> None:
    """They come from a beat whose clock is right, which says how long each is worth doing."""
    late, early = AccessRequest.objects.get(status="pending"), waiting(node, node.cast.tier3, LITTLE)
    holds = []
    for ends in (-LITTLE, LITTLE):
        _, token = node.key()
        assert node.authorize(token, f"hold-{ends.total_seconds()}") == 200
        mine = Reservation.objects.latest("authorized_at")
        Reservation.objects.filter(pk=mine.pk).update(
            authorized_at=node.now - 2 * LITTLE, expires_at=node.now + ends
        )
        holds.append(mine)
    for alarm in ("expire-holds", "expire-requests"):
        entry = settings.CELERY_BEAT_SCHEDULE[alarm]
        app.send_task(entry["task"], **entry["options"])

    def done() -> bool:
        late.refresh_from_db()
        holds[0].refresh_from_db()
        return (late.status, holds[0].state) == (RequestStatus.EXPIRED, ReservationState.UNSETTLED)

    eventually(done, seconds=30, what=f"the jobs of {node.worker.log}: {node.worker.output()[-500:]}")
    early.refresh_from_db()
    holds[1].refresh_from_db()
    assert (early.status, holds[1].state) == (RequestStatus.PENDING, ReservationState.OPEN)
