"""A call is kept in few bytes, and read as it was told: its name above all, in every spelling."""

import json
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import Sum

from budgets.models import Entry
from core import clock
from tests.gateway.conftest import World, world
from usage.models import StoredCall, UsageEvent

__all__ = ["world"]

pytestmark = pytest.mark.django_db

HEX = "6162636465666768696a6b6c6d6e6f70"
# Sixteen characters whose bytes are those of HEX; marks that a shape stands for; ids of ours, whole and not.
NAMES = (
    HEX,
    str(UUID(HEX)),
    "abcdefghijklmnop",
    HEX.upper(),
    f"rsv_{HEX[:28]}",
    f"rsv_{HEX[:28]}:unsettled",
    f"rsv_{HEX[:28].upper()}",
    "rsv_",
    "-",
    "call\\001 ü",
    "x" * 100,
)


def kept(world: World, name: str, **changes: object) -> UsageEvent:
    fields: dict[str, object] = {
        "source": world.gus.gateway.public_id, "external_id": name, "at": clock.now(),
        "recorded_at": clock.now(),
        "key_id": world.key.pk, "owner": world.ada, "project": world.key.project, "team": world.team,
        "department": world.team.department, "model": world.small, "tier": world.small.tier, "cost_usd": 1,
        "finish": "stop", "input_tokens": 3, "output_tokens": 2, **changes,
    }  # fmt: skip
    return UsageEvent.objects.create(**fields)


def found(source: str, name: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT external_id FROM usage_event WHERE call_key = usage_key_of(%s, %s)", [source, name]
        )
        return [found for (found,) in cursor.fetchall()]


def test_every_name_comes_back_as_it_was_told_and_is_found_by_its_key(world: World) -> None:
    for name in NAMES:
        kept(world, name)

    assert sorted(UsageEvent.objects.values_list("external_id", flat=True)) == sorted(NAMES)
    for name in NAMES:
        assert found(world.gus.gateway.public_id, name) == [name]
        assert found("gw_another", name) == []


def test_same_name_at_another_source_is_another_call(world: World) -> None:
    for name in NAMES:
        kept(world, name)
        kept(world, name, source="gw_another")

    assert StoredCall.objects.count() == 2 * len(NAMES)
    assert found("gw_another", HEX) == [HEX]


@pytest.mark.parametrize("name", NAMES)
def test_call_is_there_once_in_its_month_at_whatever_moment(world: World, name: str) -> None:
    at = clock.now().replace(day=10)
    kept(world, name, at=at)

    with pytest.raises(IntegrityError, match="duplicate key"), transaction.atomic():
        kept(world, name, at=at + timedelta(hours=1))


def test_what_is_as_in_most_calls_takes_no_room_and_is_read_all_the_same(world: World) -> None:
    kept(world, HEX)

    row, event = StoredCall.objects.get(), UsageEvent.objects.get()
    assert (row.shape, row.finish, row.units, row.cached_tokens, row.provider_call_id) == (None,) * 5
    assert (event.finish, event.units, event.cached_tokens, event.reasoning_tokens) == ("stop", {}, 0, 0)
    assert (event.provider_call_id, event.calls, event.key_id, event.team) == (
        "",
        1,
        world.key.pk,
        world.team,
    )


def test_numbers_of_sources_and_attributions_are_never_given_again(world: World) -> None:
    kept(world, HEX)
    kept(world, "another")

    with connection.cursor() as cursor:
        cursor.execute("SELECT (SELECT count(*) FROM usage_attribution), (SELECT count(*) FROM usage_source)")
        assert cursor.fetchone() == (1, 1)
        for table in ("usage_attribution", "usage_source"):
            with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
                cursor.execute(f"DELETE FROM {table}")  # noqa: S608  named above


def test_volume_that_no_row_takes_is_several_rows_and_one_entry(world: World) -> None:
    item = {
        "source": world.gus.gateway.public_id,
        "at": clock.now().isoformat(),
        "key_id": world.key.pk,
        "owner_id": world.ada.pk,
        "project_id": world.project.pk,
        "team_id": world.team.pk,
        "department_id": world.team.department_id,
        "model_id": world.small.pk,
        "tier_id": world.small.tier_id,
        "calls": 70_001,
        "amount_usd": "5",
        "input_tokens": 5_000_000_001,
        "cached_tokens": 0,
        "cache_write_tokens": 0,
        "output_tokens": -7,
        "reasoning_tokens": 0,
    }
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT usage_put_right(%s::jsonb, 'dsc_x.1', %s, 'A test.', 'UTC')",
            [json.dumps(item), world.ada.pk],
        )

    assert UsageEvent.objects.count() == 3
    assert Entry.objects.get().amount_usd == 5
    names = ("calls", "cost_usd", "input_tokens", "output_tokens")
    told = UsageEvent.objects.aggregate(**{f"sum_{name}": Sum(name) for name in names})
    assert list(told.values()) == [70_001, 5, 5_000_000_001, -7]
