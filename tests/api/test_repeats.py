"""`Idempotency-Key`: the same call again has one effect and one answer, also when both come at once."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db import IntegrityError, connection, transaction
from django.test import Client

from approvals.models import AccessRequest, BudgetRequest, RequestStatus
from approvals.services import ask_increase
from core import audit, clock, idempotency
from core.idempotency import Kept, KeyReusedError, fingerprint, lasting, once
from core.models import AuditEvent, IdempotentCall
from keys.models import ApiKey
from keys.secrets import TOKEN_PATTERN
from teams.services.changes import archive_project, move_project
from tests import factories
from tests.api.test_errors import problem
from tests.api.world import Answer, Caller, World
from tests.browsing import Visitor
from tests.cast import Cast, make_cast
from tests.racing import at_once
from tests.signing import sign_in

KEY = {"Idempotency-Key": "a-7c1"}


def make_key(caller: Caller, world: World, name: str = "laptop", headers: Any = None) -> Answer:
    body = {"project": world.cast.ranking.public_id, "name": name}
    return caller.post("keys/", body, headers=KEY if headers is None else headers)


def test_the_same_call_again_gets_the_same_answer_and_one_effect(ada: Caller, world: World) -> None:
    first = make_key(ada, world)
    ApiKey.objects.filter(name="laptop").update(name="renamed since")  # or the service would find it again

    again = make_key(ada, world)

    assert (first.status_code, again.status_code) == (201, 201)
    assert (again.content, again["Location"]) == (first.content, first["Location"])
    assert AuditEvent.objects.filter(action="key.issued").count() == 1


def test_the_members_of_a_body_count_in_any_order(ada: Caller, world: World) -> None:
    project = world.cast.ranking.public_id
    first = ada.post("keys/", {"name": "x", "project": project}, headers=KEY)
    assert ada.post("keys/", {"project": project, "name": "x"}, headers=KEY).json() == first.json()


def test_the_key_with_another_body_or_address_is_refused(ada: Caller, world: World) -> None:
    make_key(ada, world)
    problem(make_key(ada, world, name="other"), 422, "idempotency_key_reused")
    path = f"keys/{world.key.public_id}/rename/"
    problem(ada.post(path, {"name": "batch"}, headers=KEY), 422, "idempotency_key_reused")
    assert not ApiKey.objects.filter(name__in=("other", "batch")).exists()


def test_two_people_may_use_the_same_key(ada: Caller, ben: Caller, world: World) -> None:
    assert make_key(ada, world).json()["owner"] != make_key(ben, world).json()["owner"]


def test_what_was_refused_is_judged_anew(ada: Caller, world: World) -> None:
    path = f"keys/{world.fresh_key.public_id}/rotate/"
    problem(ada.post(path, {}, headers=KEY), 409, "not_revealed")
    assert not IdempotentCall.objects.exists()
    ada.post(f"keys/{world.fresh_key.public_id}/reveal/", {})
    assert ada.post(path, {}, headers=KEY).status_code == 200


def test_a_repeated_reveal_answers_without_the_secret(ada: Caller, world: World) -> None:
    path = f"keys/{world.fresh_key.public_id}/reveal/"
    secret = ada.post(path, {}, headers=KEY).json()["secret"]

    again = problem(ada.post(path, {}, headers=KEY), 409, "already_revealed")

    assert again["masked"].endswith(secret[-4:])
    with connection.cursor() as cursor:
        cursor.execute("SELECT c::text FROM core_idempotentcall c")
        assert secret not in str(cursor.fetchall())
    assert IdempotentCall.objects.get().body == ""


@pytest.mark.parametrize("key", ["", "x" * 256, "two words"])
def test_a_key_is_visible_ascii(ada: Caller, world: World, key: str) -> None:
    problem(make_key(ada, world, headers={"Idempotency-Key": key}), 422, "invalid_input")


def test_a_key_does_not_let_anybody_in(world: World, ada: Caller) -> None:
    make_key(ada, world)
    assert make_key(Caller(None), world).status_code == 401


def test_a_form_with_a_key_has_one_effect(cast: Cast) -> None:
    client = Client(headers=KEY)
    client.force_login(cast.ada)
    entered = {"name": "laptop", "project": "ranking", "days": "30"}
    first = client.post("/keys/new/", entered)
    ApiKey.objects.update(name="renamed since")

    again = client.post("/keys/new/", entered)

    assert (again.status_code, again["Location"]) == (302, first["Location"])
    assert ApiKey.objects.count() == 1
    assert client.post("/keys/new/", {**entered, "name": "other"}).status_code == 422


def test_the_page_that_shows_a_secret_is_not_kept(cast: Cast) -> None:
    client = Client()
    sign_in(client, cast.ada)
    path = client.post("/keys/new/", {"name": "a", "project": "ranking", "days": "30"})["Location"]
    shown = client.post(path, headers=KEY)
    assert re.search(TOKEN_PATTERN, shown.content.decode())
    assert client.post(path, headers=KEY).status_code == 409
    assert IdempotentCall.objects.get().status is None


def test_a_refused_form_is_judged_anew(cast: Cast) -> None:
    client = Client(headers=KEY)
    client.force_login(cast.ada)
    assert client.post("/keys/new/", {"name": ""}).status_code == 422
    assert not IdempotentCall.objects.exists()


def test_calls_are_forgotten_after_a_day(ada: Caller, world: World) -> None:
    make_key(ada, world)
    assert idempotency.forget() == 0
    with time_machine.travel(clock.now() + timedelta(days=1, minutes=1), tick=False):
        assert idempotency.forget() == 1


def test_a_refusal_cannot_be_kept(world: World, ada: Caller) -> None:
    make_key(ada, world)
    with pytest.raises(IntegrityError, match="idempotent_call_keeps"), transaction.atomic():
        IdempotentCall.objects.update(status=404)


@pytest.mark.django_db(transaction=True)
@pytest.mark.race
def test_copies_that_come_at_once_have_one_effect() -> None:
    cast = make_cast()

    def act() -> str:
        with transaction.atomic():
            return audit.record(actor=cast.ada, action="test.acted", subject=cast.ada).public_id

    def guarded(asked: str = "it") -> str:
        return once(
            caller="user:1",
            key="k",
            asked=fingerprint(asked),
            act=act,
            keep=lambda made: Kept(status=200, body=made),
            repeat=lambda kept: kept.body,
        )

    assert len(set(at_once(*[act] * 8))) == 8, "without the key every copy acts"
    assert len(set(at_once(*[guarded] * 8))) == 1
    assert AuditEvent.objects.filter(action="test.acted").count() == 9
    (refused,) = at_once(lambda: guarded("something else"))
    assert isinstance(refused, KeyReusedError)


# What a refusal finds out about the request stays, though the refused call is taken back.


Waiting = AccessRequest | BudgetRequest


@pytest.fixture(params=["requests", "budget-requests"])
def waiting(request: pytest.FixtureRequest, world: World) -> tuple[str, Waiting]:
    """Return where a request of Ada's is decided, and the request: for access, then for more budget."""
    asked: Waiting = world.request
    if request.param == "budget-requests":
        more: dict[str, Any] = {"limit_usd": Decimal(600), "reason": "A launch in December."}
        asked = ask_increase(actor=world.cast.ada, budget=world.budget, **more)
    return f"{request.param}/{asked.public_id}/decide/", asked


def test_a_request_whose_project_was_closed_stays_closed(
    ben: Caller, world: World, waiting: tuple[str, Waiting]
) -> None:
    path, asked = waiting
    archive_project(actor=None, project=world.cast.ranking, reason="Done.")
    problem(ben.post(path, {"verdict": "approve", "seen_revision": 1}, headers=KEY), 409, "already_decided")
    asked.refresh_from_db()
    assert asked.status == RequestStatus.CLOSED
    assert not IdempotentCall.objects.exists()


def test_a_request_whose_project_moved_is_another_one_afterwards(
    ann: Caller, world: World, waiting: tuple[str, Waiting]
) -> None:
    path, asked = waiting
    factories.MembershipFactory.create(user=world.cast.ada, team=world.cast.cards)
    move_project(actor=world.cast.ann, project=world.cast.ranking, team=world.cast.cards, reason="Theirs.")
    for _ in range(2):
        answer = ann.post(path, {"verdict": "approve", "seen_revision": 1}, headers=KEY)
        problem(answer, 412, "changed_since_read")
        asked.refresh_from_db()
        assert (asked.status, asked.revision) == (RequestStatus.PENDING, 2)


def test_a_form_with_a_name_of_its_own_closes_it_too(world: World) -> None:
    archive_project(actor=None, project=world.cast.ranking, reason="Done.")
    page = f"/approvals/{world.request.public_id}/decide/"
    answer = Visitor(world.cast.ben).post(page, verdict="approve", seen_revision="1", once="a-7c1")
    assert answer.status == 409
    world.request.refresh_from_db()
    assert world.request.status == RequestStatus.CLOSED


@pytest.mark.django_db
def test_what_lasts_is_done_once_where_nothing_is_taken_back() -> None:
    done: list[str] = []
    lasting(lambda: done.append("alone"))
    once(
        caller="user:1",
        key="a",
        asked=fingerprint("x"),
        act=lambda: lasting(lambda: done.append("within")),
        keep=lambda _: None,
        repeat=lambda _: None,
    )
    assert done == ["alone", "within"]
