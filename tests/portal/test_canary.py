"""A revealed secret is in one answer and nowhere else: not in database, logs, mails, queue or any page."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis
from celery.signals import before_task_publish
from django.conf import settings
from django.core import mail
from django.db import connection
from django.test import Client

from core import outbox
from keys.models import ApiKey
from keys.services import report_leak
from keys.tasks import tell_of_expiring
from portal.news.senders import SENDERS
from tests.api.routes import routes
from tests.api.test_matrix import IDS as API_IDS
from tests.api.test_matrix import noun_of
from tests.api.world import Caller, World, make_world
from tests.cast import Cast
from tests.portal.test_matrix import CELLS, IDS
from tests.signing import sign_in

READERS = ("ada", "ben", "ann")


@dataclass
class Everything(logging.Handler):
    """Keeps what is logged and what is sent to the queue while a test runs."""

    lines: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(logging.DEBUG)

    __hash__ = object.__hash__

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.getMessage()} {vars(record)}")

    def published(self, body: Any = None, headers: Any = None, **_: Any) -> None:
        self.messages.append(f"{body} {headers}")


@pytest.fixture
def world(cast: Cast) -> World:
    """Make one of everything."""
    return make_world(cast)


@pytest.fixture
def everything() -> Iterator[Everything]:
    """Listen to every logger, the SQL of Django left out, and to what goes into the queue."""
    listener = Everything()
    root, quiet = logging.getLogger(), logging.getLogger("django.db.backends")
    level, propagates = root.level, quiet.propagate
    root.addHandler(listener)
    root.setLevel(logging.DEBUG)
    quiet.propagate = False
    before_task_publish.connect(listener.published)
    yield listener
    before_task_publish.disconnect(listener.published)
    quiet.propagate = propagates
    root.setLevel(level)
    root.removeHandler(listener)


def test_secrets_are_found_in_the_one_answer_only(world: World, everything: Everything) -> None:
    secrets = [reveal_by_page(world), *rotate_by_api(world), api_token_by_page(world)]
    browser = Client()
    sign_in(browser, world.cast.ada)
    assert browser.get("/sessions/").status_code == 200
    secrets.append(browser.cookies[settings.SESSION_COOKIE_NAME].value)
    report_leak(secret=secrets[2], place=f"seen: {secrets[2]}")
    tell_of_expiring.delay()
    logging.getLogger("keys").info("the listener listens")

    places = {
        "database": "\n".join(dump()),
        "logs": "\n".join(everything.lines),
        "queue": "\n".join(everything.messages),
        "mails": "\n".join(mails()),
        "valkey": "\n".join(valkey()),
        "pages": "\n".join(pages(world)),
    }

    controls = {
        "database": world.fresh_key.public_id,
        "logs": "the listener listens",
        "queue": "keys.tell_of_expiring",
        "mails": "leaked",
        "valkey": "keys.tell_of_expiring",
        "pages": ApiKey.objects.get(pk=world.fresh_key.pk).masked,
    }
    for place, text in places.items():
        assert controls[place] in text, f"{place} was not looked at"
        for secret in secrets:
            assert not [part for part in forms_of(secret) if part in text], f"{place} has a secret"


def forms_of(secret: str) -> list[str]:
    """Return a secret as it may be written: as it is, its random part alone, and its bytes in hexadecimal."""
    return [secret, secret.rsplit("_", 1)[-1], secret.encode().hex()]


def in_one_answer(response: Any, masked: str) -> str:
    """Return the secret in an answer; nothing may store the answer."""
    content = response.content.decode()
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    start, _, end = masked.partition("…")
    (secret,) = {word for word in content.replace('"', " ").split() if word.startswith(start)} - {masked}
    assert secret.endswith(end)
    return str(secret)


def reveal_by_page(world: World) -> str:
    client = Client()
    sign_in(client, world.cast.ada)
    response = client.post(f"/keys/{world.fresh_key.public_id}/reveal/")
    return in_one_answer(response, ApiKey.objects.get(pk=world.fresh_key.pk).masked)


def rotate_by_api(world: World) -> list[str]:
    """Return both secrets of a key during its overlap."""
    ada = Caller(world.cast.ada)
    key = ada.post("keys/", {"project": world.cast.ranking.public_id, "name": "canary"}).json()["id"]
    first = ada.post(f"keys/{key}/reveal/", {}, headers={"Idempotency-Key": "one"}).json()["secret"]
    ada.post(f"keys/{key}/rotate/", {})
    second = ada.post(f"keys/{key}/reveal/", {}, headers={"Idempotency-Key": "two"}).json()["secret"]
    return [str(first), str(second)]


def api_token_by_page(world: World) -> str:
    """Return an API token that was used once."""
    client = Client()
    sign_in(client, world.cast.ada)
    made = client.post("/keys/tokens/new/", {"name": "ci", "scopes": ["keys:read"], "days": "30"})
    response = client.post(made["Location"])
    secret = in_one_answer(response, world.cast.ada.api_tokens.get().masked)
    used = Client(headers={"Authorization": f"Bearer {secret}"}).get("/api/v1/keys/")
    assert used.status_code == 200
    return secret


def dump() -> Iterator[str]:
    """Return every row of every table as PostgreSQL copies it out."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = current_schema()")
        for (table,) in cursor.fetchall():
            with cursor.copy(f"COPY (SELECT * FROM {table}) TO STDOUT") as rows:  # noqa: S608  a name from the catalogue
                yield from (bytes(row).decode() for row in rows)


def mails() -> Iterator[str]:
    outbox.drain(senders=SENDERS)
    for each in mail.outbox:
        yield each.message().as_string()


def valkey() -> Iterator[str]:
    """Return every key of the queue with its value."""
    client: Any = redis.Redis.from_url(settings.REDIS_URL)
    for name in client.scan_iter():
        match client.type(name):
            case b"list":
                value = client.lrange(name, 0, -1)
            case b"set":
                value = client.smembers(name)
            case b"hash":
                value = client.hgetall(name)
            case _:
                value = client.dump(name)
        yield f"{name!r} {value!r}"


def pages(world: World) -> Iterator[str]:
    """Return every page and every answer of the API to its owner, his lead and an administrator."""
    ids = {name: made(world) for name, made in IDS.items()}
    addresses = [page.format(**ids) for page in CELLS]
    addresses += [
        route.path.replace("{id}", API_IDS[noun_of(route)](world) if "{id}" in route.path else "")
        for route in routes()
        if route.method == "GET" and "/v1/" in route.path
    ]
    for reader in READERS:
        client = Client(raise_request_exception=False)
        sign_in(client, getattr(world.cast, reader))
        for address in addresses:
            answer = client.get(address)
            body = b"".join(answer) if answer.streaming else answer.content
            yield body.decode()
