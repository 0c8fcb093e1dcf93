"""What programs call, and what the sign-in package owns: every route x every kind of caller, against declared
tables. With tests/portal/test_matrix.py and tests/api/test_matrix.py no route of the house is without a row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP
from django.conf import LazySettings
from django.test import Client
from django.urls import URLPattern, URLResolver

from budgets.models import Reservation, ScopeKind
from core import clock
from core.models import AuditEvent
from gateway import views
from gateway.auth import Credential, credential_of, signed_headers
from gateway.hot.credentials import CredentialCache
from gateway.models import Gateway
from keys.models import ApiKey
from keys.scopes import SCOPES
from keys.services import make_token, reveal_token
from portal.urls import urlpatterns
from teams.models import DirectoryGroup, User
from teams.scim.protocol import GROUP, PATCH, USER
from tests import factories, matrix
from tests.api.routes import routes
from tests.api.world import open_budget
from tests.cast import Cast
from tests.fakes.slack import SIGNING_SECRET, signature
from tests.portal.test_matrix import ELSEWHERE, pages
from tests.signing import LONG_AGO, sign_in

# `member` is Ada's browser, `ann` the administrator's; `token` is an API token of Ann's with every scope;
# `wrong` has the right form and another secret; `right` is who the route is for.
TABLE = """
    method route                        anonymous member ann   token wrong right
    GET    /metrics                     401       401    401   401   401   200
    GET    /healthz                     200       200    200   200   200   200
    GET    /readyz                      200       200    200   200   200   200
    POST   /slack/commands/             401       401    401   401   401   200
    POST   /slack/actions/              401       401    401   401   401   200
    GET    /scim/v2/Users               401       401    401   401   401   200
    POST   /scim/v2/Users               401       401    401   401   401   201
    GET    /scim/v2/Users/<str:public_id> 401       401    401   401   401   200
    PUT    /scim/v2/Users/<str:public_id> 401       401    401   401   401   200
    PATCH  /scim/v2/Users/<str:public_id> 401       401    401   401   401   200
    DELETE /scim/v2/Users/<str:public_id> 401       401    401   401   401   204
    GET    /scim/v2/Groups              401       401    401   401   401   200
    POST   /scim/v2/Groups              401       401    401   401   401   201
    GET    /scim/v2/Groups/<str:public_id> 401       401    401   401   401   200
    PUT    /scim/v2/Groups/<str:public_id> 401       401    401   401   401   200
    PATCH  /scim/v2/Groups/<str:public_id> 401       401    401   401   401   200
    DELETE /scim/v2/Groups/<str:public_id> 401       401    401   401   401   204
    GET    /scim/v2/ServiceProviderConfig 401     401    401   401   401   200
    GET    /scim/v2/ResourceTypes       401       401    401   401   401   200
    GET    /scim/v2/Schemas             401       401    401   401   401   200
    GET    /scim/v2/                    401       401    401   401   401   404
    POST   /gateway/v1/authorize        401       401    401   401   401   200
    POST   /gateway/v1/settle           401       401    401   401   401   200
    POST   /gateway/v1/release          401       401    401   401   401   200
    POST   /gateway/v1/leases           401       401    401   401   401   200
    POST   /gateway/v1/leases/poll      401       401    401   401   401   200
    POST   /gateway/v1/leases/return    401       401    401   401   401   200
    POST   /gateway/v1/usage            401       401    401   401   401   200
"""
HEAD, *LINES = [line.split() for line in TABLE.strip().splitlines()]
CALLERS = HEAD[2:]
CELLS = {(method, route): dict(zip(CALLERS, cells, strict=True)) for method, route, *cells in LINES}
PUBLIC = {"/healthz", "/readyz"}
NOTHING = {"/scim/v2/"}  # what is not there: 404 to the directory, and 401 to everybody else
METRICS_TOKEN, SCIM_TOKEN = "of-the-metrics-" + "5" * 32, "of-the-directory-" + "7" * 32

# `login` and `confirm` are the ways there; `old` is Ada's browser of six minutes ago. The passkey is Ada's.
ACCOUNTS = """
    route                                              anonymous old     ben     ada
    /accounts/login/                                   200       302     302     302
    /accounts/logout/                                  login     200     200     200
    /accounts/inactive/                                200       200     200     200
    /accounts/signup/                                  200       302     302     302
    /accounts/reauthenticate/                          login     200     200     200
    /accounts/email/                                   login     404     404     404
    /accounts/confirm-email/                           200       200     200     200
    /accounts/password/change/                         login     200     200     200
    /accounts/password/set/                            login     302     302     302
    /accounts/password/reset/                          200       200     200     200
    /accounts/login/code/confirm/                      login     302     302     302
    /accounts/^confirm-email/(?P<key>[-:\\w]+)/$       200       200     200     200
    /accounts/password/reset/key/done/                 200       200     200     200
    /accounts/^password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$ 200 200 200 200
    /accounts/password/reset/done/                     200       200     200     200
    /accounts/confirm/                                 login     302     302     302
    /accounts/2fa/                                     login     200     200     200
    /accounts/2fa/authenticate/                        login     302     302     302
    /accounts/2fa/reauthenticate/                      login     confirm confirm confirm
    /accounts/2fa/totp/activate/                       login     confirm 200     200
    /accounts/2fa/totp/deactivate/                     login     confirm 200     200
    /accounts/2fa/recovery-codes/                      login     confirm 200     200
    /accounts/2fa/recovery-codes/generate/             login     confirm 200     200
    /accounts/2fa/recovery-codes/download/             login     confirm 200     200
    /accounts/2fa/webauthn/                            login     200     200     200
    /accounts/2fa/webauthn/add/                        login     confirm 200     200
    /accounts/2fa/webauthn/reauthenticate/             login     confirm confirm confirm
    /accounts/2fa/webauthn/keys/<int:pk>/remove/       login     confirm 404     200
    /accounts/2fa/webauthn/keys/<int:pk>/edit/         login     confirm 404     200
    /accounts/2fa/webauthn/login/                      login     302     302     302
    /accounts/provider/login/cancelled/                200       200     200     200
    /accounts/provider/login/error/                    login     401     401     401
    /accounts/provider/signup/                         login     login   login   login
    /accounts/provider/                                login     404     404     404
    /accounts/oidc/^(?P<provider_id>[^/]+)/login/      404       404     404     404
    /accounts/oidc/^(?P<provider_id>[^/]+)/login/callback/ 404 404 404 404
"""
ACCOUNT_HEAD, *ACCOUNT_LINES = [line.split() for line in ACCOUNTS.strip().splitlines()]
VISITORS = ACCOUNT_HEAD[1:]
ACCOUNT_CELLS = {route: dict(zip(VISITORS, cells, strict=True)) for route, *cells in ACCOUNT_LINES}
WITH_AN_APP = {route for route in ACCOUNT_CELLS if "recovery" in route or route.endswith("/deactivate/")}
# Nobody's provider is set up here: tests/sign_in/test_provider.py runs one. Administrators and the directory
# change addresses, nobody his own.
SHUT = {
    *(route for route in ACCOUNT_CELLS if "/oidc/" in route),
    "/accounts/email/",
    "/accounts/provider/",
    "/accounts/provider/login/error/",
    "/accounts/provider/signup/",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One call but for who makes it."""

    method: str
    path: str
    body: bytes = b""
    kind: str = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """The cast, with a key that a gateway asks about and what a directory knows."""

    cast: Cast
    gateway: Gateway
    secret: str
    token: str
    group: DirectoryGroup


@pytest.fixture
def house(cast: Cast, settings: LazySettings) -> House:
    """Set up everything that programs call."""
    views._credentials = CredentialCache()
    settings.METRICS_TOKENS = [METRICS_TOKEN.encode()]
    settings.SCIM_TOKENS = [SCIM_TOKEN.encode()]
    settings.SLACK_SIGNING_SECRET = SIGNING_SECRET
    key = factories.ApiKeyFactory.create(project=cast.ranking, owner=cast.ada)
    token = make_token(actor=cast.ann, name="ci", scopes=sorted(SCOPES))
    open_budget(cast, ScopeKind.PROJECT, cast.ranking.pk, "500")
    return House(
        cast=cast,
        gateway=Gateway.objects.create(name="gus", live_versions=[1]),
        secret=factories.revealed(key),
        token=reveal_token(actor=cast.ann, token=token).secret,
        group=DirectoryGroup.objects.create(name="Search leads"),
    )


def test_no_route_of_the_house_is_without_a_row() -> None:
    rows = {route for _, route in CELLS} | set(ACCOUNT_CELLS)
    found = {route for route in walked(urlpatterns, "/") if route.startswith(ELSEWHERE)}
    programs = sorted(route for route in found if not route.startswith("/api/"))
    matrix.check_declared("programs and accounts", programs, sorted(rows))


@pytest.mark.parametrize("row", CELLS, ids=" ".join)
def test_every_refusal_of_a_program_has_a_positive_control(row: tuple[str, str]) -> None:
    cells = CELLS[row]
    assert row[1] in NOTHING or cells["right"] in {"200", "201", "204"}
    assert row[1] in PUBLIC or {cells[each] for each in CALLERS[:-1]} == {"401"}


@pytest.mark.parametrize("row", CELLS, ids=" ".join)
def test_program_is_answered_as_declared(row: tuple[str, str], house: House) -> None:
    asked = ask(*row, house)
    before = effects()
    answered = {each: str(call(asked, each, house).status_code) for each in CALLERS[:-1]}
    assert effects() == before
    answered["right"] = str(call(asked, "right", house).status_code)
    matrix.check("programs", " ".join(row), CELLS[row], answered)


@pytest.mark.parametrize("route", sorted({route for _, route in CELLS} - PUBLIC))
def test_no_method_opens_a_programs_route_to_somebody_else(route: str, house: House) -> None:
    path = ask("GET", route, house).path
    answered = {
        (method, each): call(Asked(method=method, path=path), each, house).status_code
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
        for each in CALLERS[:-1]
    }
    assert {cell: status for cell, status in answered.items() if status not in {401, 405, 413}} == {}


@pytest.mark.parametrize("route", ACCOUNT_CELLS)
def test_every_refusal_of_an_account_page_has_a_positive_control(route: str) -> None:
    cells = ACCOUNT_CELLS[route]
    assert route in SHUT or set(cells.values()) & {"200", "302"} or "confirm" in cells["ada"]


@pytest.mark.parametrize("route", ACCOUNT_CELLS)
def test_account_page_answers_each_visitor_as_declared(route: str, cast: Cast) -> None:
    path = account_path(route, cast)
    answered = {each: shown(visitor(each, cast).get(path)) for each in VISITORS}
    matrix.check("accounts", route, ACCOUNT_CELLS[route], answered)


@pytest.mark.parametrize(
    "route", [each for each, cells in ACCOUNT_CELLS.items() if "login" in cells.values()]
)
def test_account_form_of_nobody_changes_nothing(route: str, cast: Cast) -> None:
    path, before = account_path(route, cast), effects()
    sent = {"code": "000000", "name": "x", "password": "x", "password1": "x", "password2": "x"}
    assert shown(visitor("anonymous", cast).post(path, sent)) == "login"
    assert effects() == before


def test_a_gateway_opens_nothing_but_its_own_routes(house: House) -> None:
    opened = []
    for route in [*(each for each in pages() if "{" not in each), *(each.path for each in routes())]:
        asked = Asked(method="GET", path=route.replace("{id}", "x"))
        answer = call(asked, "gateway", house)
        if answer.status_code == 200 and route not in {"/secret-patterns.json", "/api/schema/"}:
            opened.append(route)
    assert opened == []


def walked(patterns: list[URLPattern | URLResolver], prefix: str) -> Iterator[str]:
    """Give every route as it is written."""
    for entry in patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from walked(entry.url_patterns, path)
        else:
            yield path


def effects() -> tuple[int, ...]:
    """Count what a call could leave behind."""
    kinds = (AuditEvent, User, DirectoryGroup, Reservation, ApiKey, Authenticator)
    return tuple(kind.objects.count() for kind in kinds)


def visitor(who: str, cast: Cast) -> Client:
    client = Client()
    if who == "old":
        sign_in(client, cast.ada, ago=LONG_AGO)
    elif who != "anonymous":
        sign_in(client, getattr(cast, who))
    return client


def shown(answer: Any) -> str:
    """Return the status, or where it leads when that is to the sign-in or its confirmation."""
    way = answer.headers.get("Location", "")
    if way.startswith("/accounts/login/"):
        return "login"
    return "confirm" if "reauthenticate" in way else str(answer.status_code)


def account_path(route: str, cast: Cast) -> str:
    """Write a route with what it is about: a password, an app with recovery codes, and a passkey of Ada's."""
    for person in (cast.ada, cast.ben):
        person.set_password("a password of the tests, 2026")
        person.save()
        if route in WITH_AN_APP:
            TOTP.activate(person, "JBSWY3DPEHPK3PXP")
            RecoveryCodes.activate(person)
    passkey = 0
    if "<int:pk>" in route:
        passkey = Authenticator.objects.create(user=cast.ada, type="webauthn", data={"name": "laptop"}).pk
    if "^" in route:
        route = route.replace("^", "").removesuffix("$")
    for pattern, value in (
        ("(?P<key>[-:\\w]+)", "abc"),
        ("(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)", "1-abc"),
        ("(?P<provider_id>[^/]+)", "company"),
        ("<int:pk>", str(passkey)),
    ):
        route = route.replace(pattern, value)
    return route


def call(asked: Asked, who: str, house: House) -> Any:
    client = Client()
    headers: dict[str, str] = {}
    if who in {"member", "ann"}:
        sign_in(client, house.cast.ada if who == "member" else house.cast.ann)
    elif who == "token":
        headers = bearer(house.token)
    elif who == "gateway":
        headers = gateway_headers(asked, credential_of(house.gateway))
    elif who in {"wrong", "right"}:
        headers = credential(asked, house, right=who == "right")
    return client.generic(asked.method, asked.path, asked.body, content_type=asked.kind, headers=headers)


def credential(asked: Asked, house: House, *, right: bool) -> dict[str, str]:
    """Return what the caller of a route signs or sends."""
    if asked.path.startswith("/gateway/"):
        live = house.gateway.live_versions if right else [7]
        gateway = Gateway(pk=house.gateway.pk, public_id=house.gateway.public_id, live_versions=live)
        return gateway_headers(asked, credential_of(gateway))
    if asked.path.startswith("/slack/"):
        secret = SIGNING_SECRET if right else "f" * 32
        return signature(asked.body.decode(), int(clock.now().timestamp()), secret)
    token = METRICS_TOKEN if asked.path == "/metrics" else SCIM_TOKEN
    return bearer(token if right else token[:-1] + "x")


def gateway_headers(asked: Asked, known: Credential) -> dict[str, str]:
    at = clock.now().timestamp()
    return signed_headers(
        credential=known, method=asked.method, target=asked.path, body=asked.body, now_seconds=at
    )


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def ask(method: str, route: str, house: House) -> Asked:
    """Return a call that would have its effect."""
    if route.startswith("/slack/"):
        fields = {"text": "help", "payload": json.dumps({"user": {"id": "U1"}, "actions": []})}
        kind = "application/x-www-form-urlencoded"
        return Asked(method=method, path=route, body=urlencode(fields).encode(), kind=kind)
    if route.startswith("/scim/"):
        known = house.cast.ada.public_id if "Users" in route else house.group.public_id
        body = SCIM_BODIES.get((method, "User" if "Users" in route else "Group"))
        return Asked(
            method=method,
            path=route.replace("<str:public_id>", known),
            body=json.dumps(body).encode() if body else b"",
            kind="application/scim+json",
        )
    made = GATEWAY_BODIES.get(route)
    body = json.dumps(made(house)).encode() if made and method == "POST" else b""
    return Asked(method=method, path=route, body=body)


SCIM_BODIES: Mapping[tuple[str, str], Any] = {
    ("POST", "User"): {
        "schemas": [USER],
        "userName": "new@example.com",
        "displayName": "New",
        "active": True,
    },
    ("PUT", "User"): {"schemas": [USER], "userName": "ada@example.com", "displayName": "Ada", "active": True},
    ("PATCH", "User"): {
        "schemas": [PATCH],
        "Operations": [{"op": "replace", "path": "displayName", "value": "Ada Lovelace"}],
    },
    ("POST", "Group"): {"schemas": [GROUP], "displayName": "Accountants", "members": []},
    ("PUT", "Group"): {"schemas": [GROUP], "displayName": "Leads of Search", "members": []},
    ("PATCH", "Group"): {
        "schemas": [PATCH],
        "Operations": [{"op": "replace", "path": "displayName", "value": "Leads of Search"}],
    },
}


def authorization(house: House) -> dict[str, Any]:
    return {
        "request_id": "r-12345678",
        "key": house.secret,
        "model": "small",
        "route": "/v1/chat/completions",
        "input_bytes": 1000,
        "max_output_tokens": 100,
    }


def lease(house: House) -> dict[str, Any]:
    wanted = {name: authorization(house)[name] for name in ("key", "model", "route")}
    return {**wanted, "node": "node-1", "want_usd": str(Decimal(1))}


def first(path: str, body: dict[str, Any], name: str, house: House) -> str:
    """Return what the gateway gets from a call that has to come before."""
    asked = Asked(method="POST", path=path, body=json.dumps(body).encode())
    answer = call(asked, "right", house)
    assert answer.status_code == 200, answer.content
    found: str = answer.json()[name]
    return found


def reserved(house: House) -> str:
    return first("/gateway/v1/authorize", authorization(house), "reservation", house)


GATEWAY_BODIES: Mapping[str, Callable[[House], Any]] = {
    "/gateway/v1/authorize": authorization,
    "/gateway/v1/settle": lambda house: {
        "reservation": reserved(house),
        "usage": {"input_tokens": 200, "output_tokens": 50},
        "finish": "stop",
    },
    "/gateway/v1/release": lambda house: {"reservation": reserved(house), "reason": "upstream_refused"},
    "/gateway/v1/leases": lease,
    "/gateway/v1/leases/poll": lambda _: {"node": "node-1"},
    "/gateway/v1/leases/return": lambda house: {
        "lease": first("/gateway/v1/leases", lease(house), "lease", house),
        "keep_usd": "0",
    },
    "/gateway/v1/usage": lambda _: [],
}
