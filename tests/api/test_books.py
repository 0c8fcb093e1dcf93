"""What is done about the books over the API: rows that were set aside, differences, months."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from budgets.models import Entry
from catalog.models import Price, PriceSource
from core import clock
from core.models import AuditEvent
from keys.services import make_token, reveal_token
from tests.api.acts import dearer, row_of_a_gateway, softly_closed
from tests.api.test_errors import problem
from tests.api.world import Caller, World
from tests.cast import Cast
from tests.walk.usage import differing, long_past
from usage.models import PeriodClose, PeriodFigure, UsageEvent

KEY = {"Idempotency-Key": "a-7c1"}
WHY = {"reason": "The bill of November lists it."}


@pytest.fixture
def fay(cast: Cast) -> Caller:
    """Let finance call."""
    return Caller(cast.fay)


def test_a_row_is_booked_with_what_it_lacked_and_once(ann: Caller, world: World) -> None:
    entry, at = row_of_a_gateway(), clock.now()
    path = f"quarantine/{entry.public_id}/book/"
    body = {"key": world.key.public_id, "at": at.isoformat(), **WHY}

    first, again = (ann.post(path, body, headers=KEY) for _ in range(2))

    assert first.status_code == 200
    assert again.json() == first.json() == ann.get(f"quarantine/{entry.public_id}/").json()
    shown = first.json()
    assert (shown["state"], shown["resolution"], shown["resolved_by"]["name"]) == (
        "booked",
        WHY["reason"],
        "Ann Keller",
    )
    event = UsageEvent.objects.get()
    assert (event.external_id, event.key_id, event.at) == ("call-2", world.key.pk, at)
    assert (event.input_tokens, event.output_tokens, event.finish) == (1_000, 100, "stop")
    problem(ann.post(path, body), 409, "already_done")


def test_a_row_that_lacks_more_is_refused_by_the_field(ann: Caller, world: World) -> None:
    entry = row_of_a_gateway()
    path = f"quarantine/{entry.public_id}/book/"
    at, key = clock.now().isoformat(), world.key.public_id
    for fields, status, name in (
        ({"key": f"key_{0:018}", "at": at}, 422, "key"),
        ({"key": key, "at": at, "model": "none"}, 422, "model"),
        ({"key": key, "at": at, "model": ""}, 422, "model"),
        ({"key": key, "at": "2000-01-01T00:00:00Z"}, 422, "at"),
        ({"key": key, "at": at, "cached_tokens": 1_001}, 422, "cached_tokens"),
        ({"key": key, "at": at, "input_tokens": -1}, 400, "input_tokens"),
        ({"key": key, "at": at, "reason": " "}, 422, "reason"),
    ):
        answer = ann.post(path, {**WHY, **fields})
        assert (answer.status_code, list(answer.json()["errors"])) == (status, [name]), fields
    assert not UsageEvent.objects.exists()


def test_what_a_row_does_not_tell_has_to_be_said(ann: Caller, world: World) -> None:
    world.quarantined.row = {"input_tokens": "many"}
    world.quarantined.save()
    answer = ann.post(f"quarantine/{world.quarantined.public_id}/book/", WHY)
    assert list(problem(answer, 422, "invalid_input")["errors"]) == ["at"]
    fay = Caller(world.cast.fay)
    problem(fay.post(f"quarantine/{world.quarantined.public_id}/book/", WHY), 403, "role_needed")


def test_a_dismissed_row_is_booked_nowhere(ann: Caller, world: World) -> None:
    path = f"quarantine/{world.quarantined.public_id}/"
    problem(ann.post(f"{path}dismiss/", {"reason": ""}), 422, "invalid_input")
    assert ann.post(f"{path}dismiss/", WHY).json()["state"] == "dismissed"
    problem(ann.post(f"{path}dismiss/", WHY), 409, "already_done")
    problem(ann.post(f"{path}book/", {"key": world.key.public_id, **WHY}), 409, "already_done")
    assert not UsageEvent.objects.exists()
    assert AuditEvent.objects.get(action="quarantine.dismissed").reason == WHY["reason"]


@pytest.mark.parametrize(("act", "state"), [("explain", "explained"), ("accept", "accepted")])
def test_a_difference_is_closed_once_with_its_reason(fay: Caller, world: World, act: str, state: str) -> None:
    path = f"reconciliation/discrepancies/{world.discrepancy.public_id}/"
    assert list(problem(fay.post(f"{path}{act}/", {"reason": " "}), 422, "invalid_input")["errors"]) == [
        "reason"
    ]
    closed = fay.post(f"{path}{act}/", WHY, headers=KEY).json()
    assert (closed["state"], closed["note"]) == (state, WHY["reason"])
    assert fay.post(f"{path}{act}/", WHY, headers=KEY).json() == closed
    problem(fay.post(f"{path}{act}/", WHY), 409, "already_done")


def test_the_ledger_follows_a_correction(fay: Caller, cast: Cast) -> None:
    found = differing(cast)
    before = Entry.objects.count()
    path = f"reconciliation/discrepancies/{found.public_id}/correct/"

    answer = fay.post(path, WHY)

    assert (answer.status_code, answer.json()["state"]) == (200, "corrected")
    assert Entry.objects.order_by("-pk")[0].amount_usd == Decimal("0.5")
    assert Entry.objects.count() == before + 1
    problem(fay.post(path, WHY), 409, "already_done")


@pytest.mark.parametrize("fields", [{"kind": "missing_at_gateway"}, {"external_id": "rsv_retired"}])
def test_what_nothing_follows_is_not_corrected(fay: Caller, cast: Cast, fields: dict[str, str]) -> None:
    found = differing(cast, **fields)
    answer = fay.post(f"reconciliation/discrepancies/{found.public_id}/correct/", WHY)
    assert "Explain or accept" in problem(answer, 422, "invalid_input")["detail"]


def test_a_confirmed_price_is_entered(ann: Caller, world: World) -> None:
    found = dearer(world)
    answer = ann.post(f"reconciliation/discrepancies/{found.public_id}/confirm-price/", WHY)
    assert (answer.status_code, answer.json()["state"]) == (200, "accepted")
    entered = Price.objects.get(model=world.cast.large, source=PriceSource.CONTRACT)
    assert entered.usd_per_unit == Decimal("0.00000265")


def test_a_difference_is_looked_after_by_somebody_who_may(fay: Caller, world: World) -> None:
    cast = world.cast
    path = f"reconciliation/discrepancies/{world.discrepancy.public_id}/assign/"
    assert fay.post(path, {"owner": cast.ann.public_id}).json()["owner"]["name"] == "Ann Keller"
    for nobody in (cast.ada.public_id, f"usr_{0:018}"):
        refused = problem(fay.post(path, {"owner": nobody}), 422, "invalid_input")
        assert list(refused["errors"]) == ["owner"]
    problem(fay.post(path, {}), 400, "invalid_request")
    assert fay.post(path, {"owner": None}).json()["owner"] is None


def test_a_program_says_who_looks_after_a_difference(world: World) -> None:
    made = make_token(actor=world.cast.fay, name="ci", scopes=["reconciliation:read", "reconciliation:write"])
    caller = Caller(None)
    secret = reveal_token(actor=world.cast.fay, token=made).secret
    caller.client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    path = f"reconciliation/discrepancies/{world.discrepancy.public_id}/"
    assert caller.post(f"{path}assign/", {"owner": world.cast.fay.public_id}).status_code == 200
    problem(caller.post(f"{path}accept/", WHY), 403, "person_needed")


def test_a_month_is_closed_softly_then_for_good_then_opened_by_another(
    ann: Caller, fay: Caller, world: World
) -> None:
    name = f"{long_past():%Y-%m}"
    soft = fay.post("reconciliation/periods/", {"month": name})
    assert (soft.status_code, soft.json()["state"]) == (200, "soft")
    problem(fay.post("reconciliation/periods/", {"month": name}), 409, "already_done")
    path = f"reconciliation/periods/{soft.json()['id']}/"
    assert "Not read" in problem(fay.post(f"{path}close/", {}), 422, "invalid_input")["detail"]
    PeriodClose.objects.filter(public_id=soft.json()["id"]).delete()

    path = f"reconciliation/periods/{softly_closed().public_id}/"
    closed = fay.post(f"{path}close/", {}, headers=KEY).json()
    assert (closed["state"], closed["closed_by"]["name"]) == ("closed", "Fay Tanaka")
    assert fay.post(f"{path}close/", {}, headers=KEY).json() == closed
    problem(fay.post(f"{path}close/", {}), 409, "already_done")
    problem(fay.post(f"{path}reopen/", WHY), 403, "same_person")
    problem(ann.post(f"{path}reopen/", {"reason": ""}), 422, "invalid_input")
    opened = ann.post(f"{path}reopen/", WHY).json()
    assert (opened["state"], opened["reason"]) == ("reopened", WHY["reason"])
    problem(ann.post(f"{path}reopen/", WHY), 422, "invalid_input")
    assert fay.post("reconciliation/periods/", {"month": name}).json()["state"] == "soft"


@pytest.mark.parametrize(
    ("month", "status"),
    [("2999-01", 422), ("2001-01", 422), ("now", 422), ("2026-13", 400), ("2026-1", 400), (202610, 400)],
)
def test_a_month_that_cannot_be_closed_is_refused(fay: Caller, month: Any, status: int) -> None:
    asked = f"{clock.now():%Y-%m}" if month == "now" else month
    answer = fay.post("reconciliation/periods/", {"month": asked})
    assert answer.status_code == status
    assert not PeriodClose.objects.exists()


def test_a_month_that_is_open_is_not_reopened(fay: Caller, world: World) -> None:
    path = f"reconciliation/periods/{world.period.public_id}/"
    problem(fay.post(f"{path}reopen/", WHY), 422, "invalid_input")
    problem(fay.post(f"{path}close/", {}), 422, "invalid_input")
    assert not PeriodFigure.objects.exists()
