"""Tokens that a total counts too are never more than it has room for, however a call is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.gateway.conftest import World
from tests.gateway.test_pull import row as journal_row
from tests.gateway.test_push import CSV, JSON, LINES, counts, push, row
from usage.models import Quarantine, UsageDay, UsageEvent
from usage.services import ingest_page

# Of a call with 1,000 tokens in, 400 of them cached, and 100 out.
TOO_MANY = [
    {"input_audio": 1_000_000_000},
    {"input_audio": 601},
    {"input_audio": 300, "input_image": 301},
    {"cached_audio": 401},
    {"output_audio": 101},
    {"cache_write_1h": 1},
]


@pytest.mark.parametrize("units", TOO_MANY)
@pytest.mark.parametrize("kind", [JSON, LINES])
def test_parts_beyond_their_total_are_set_aside_and_cost_nobody(
    world: World, kind: str, units: dict[str, int]
) -> None:
    calls = [row(world, "bad", usage={"units": units}), row(world, "good")]
    body = calls if kind == JSON else b"\n".join(json.dumps(call).encode() for call in calls)

    answer = push(world.gus, body, kind)

    assert counts(answer) == (1, 0, 1)
    [fault] = answer.json()["errors"]
    assert (fault["line"], fault["id"], fault["reason"]) == (1, "bad", "parts_exceed")
    assert "cannot be more" in Quarantine.objects.get().detail
    assert [f"{day.cost_usd:.4f}" for day in UsageDay.objects.all()] == ["0.0012"]


def test_parts_that_their_total_has_room_for_are_booked(world: World) -> None:
    units: dict[str, Any] = {"input_audio": 600, "cached_audio": 400, "output_audio": 100, "second": 2.5}

    assert counts(push(world.gus, [row(world, "a", usage={"units": units})])) == (1, 0, 0)
    assert UsageEvent.objects.get().units == units


def test_a_part_of_a_token_is_none(world: World) -> None:
    answer = push(world.gus, [row(world, "a", usage={"units": {"input_audio": 1.5}})])

    assert [fault["reason"] for fault in answer.json()["errors"]] == ["malformed"]


def test_csv_has_no_units_that_could_be_too_many(world: World) -> None:
    head = "id,at,key_id,model,input_tokens,units"

    assert push(world.gus, f"{head}\na,2026-01-01T00:00:00Z,k,small,1,9".encode(), CSV).status_code == 400


def test_a_journal_keeps_to_the_same(world: World) -> None:
    reservation = world.gus.authorize(world.token).json()["reservation"]
    usage = {"input_tokens": 10, "units": {"input_audio": 11}}

    ingest_page(source=world.gus.gateway.public_id, rows=[journal_row(reservation, usage=usage)])

    assert Quarantine.objects.get().reason == "bad_tokens"
    assert not UsageEvent.objects.exists()
