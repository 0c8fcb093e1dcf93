"""Rows that could not be booked: an administrator books them with what they lacked, or says why not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from budgets.models import Balance
from core.errors import AlreadyDoneError, InvalidInputError
from core.models import AuditEvent
from teams.errors import RoleNeededError
from tests.cast import Cast
from tests.factories import LlmModelFactory
from tests.usage.telling import Telling, books, telling, wrong
from usage.models import Quarantine, QuarantineOutcome, QuarantineReason, UsageEvent
from usage.redaction import redacted
from usage.services import import_rows
from usage.services.quarantine import AssignedCall, assign_quarantined, dismiss_quarantined
from usage.told import facts, told

__all__ = ["telling"]

WHY = "The provider's bill of November lists it."


def kept(telling: Telling, **fields: Any) -> Quarantine:
    """Tell one call that cannot be booked, and return what is kept of it."""
    import_rows(source=telling.gateway.public_id, rows=[telling.row(0, **fields)])
    return Quarantine.objects.latest("pk")


def call(telling: Telling, **changes: Any) -> AssignedCall:
    """Return the right call of row 0, but for what is changed."""
    row = telling.row(0)
    values: dict[str, Any] = {
        "external_id": row["external_id"],
        "at": telling.start,
        "key": row["key"],
        "model": row["model"],
        "tokens": {name: row[name] for name in row if name.endswith("_tokens")},
        "finish": "stop",
    }
    return AssignedCall(**{**values, **changes})


def test_an_assigned_row_is_booked_as_if_it_had_been_right(telling: Telling) -> None:
    entry = kept(telling, key="key_nobody", provider_call_id="chatcmpl-0", cache_hit=False)
    assert books()["events"] == []

    assign_quarantined(actor=telling.cast.ann, entry=entry, call=call(telling), reason=WHY)

    event = UsageEvent.objects.get()
    assert (event.external_id, event.key_id, event.at) == ("call-000000", telling.keys[0].pk, telling.start)
    assert (event.provider_call_id, event.late) == ("chatcmpl-0", True)
    assert set(Balance.objects.values_list("spent_usd", flat=True)) == {event.cost_usd}
    assert wrong() == []
    entry.refresh_from_db()
    assert (entry.outcome, entry.resolution, entry.resolved_by) == (
        QuarantineOutcome.BOOKED,
        WHY,
        telling.cast.ann,
    )


def test_the_row_told_again_rightly_is_known_then(telling: Telling) -> None:
    entry = kept(telling, key="key_nobody")
    assign_quarantined(actor=telling.cast.ann, entry=entry, call=call(telling), reason=WHY)
    before = books()

    again = import_rows(source=telling.gateway.public_id, rows=[telling.row(0)])

    assert (again.known, again.booked) == (1, 0)
    assert books() == before


def test_a_call_that_was_booked_meanwhile_is_not_booked_twice(telling: Telling) -> None:
    entry = kept(telling, key="key_nobody")
    import_rows(source=telling.gateway.public_id, rows=[telling.row(0)])
    before = books()

    assign_quarantined(actor=telling.cast.ann, entry=entry, call=call(telling), reason=WHY)

    assert books() == before
    assert AuditEvent.objects.get(action="quarantine.booked").after["booked_before"] is True


@pytest.mark.parametrize(
    ("changes", "field", "detail"),
    [
        ({"key": "key_nobody"}, "key", "No key has this public id"),
        ({"model": "nobody"}, "model", "No model and no alias"),
        ({"model": "unpriced"}, "model", "no price"),
        ({"tokens": {"input_tokens": 1, "cached_tokens": 2}}, "cached_tokens", "cannot be more"),
    ],
)
def test_what_cannot_be_booked_even_so_changes_nothing(
    telling: Telling, changes: dict[str, Any], field: str, detail: str
) -> None:
    LlmModelFactory.create(name="unpriced")
    entry = kept(telling, key="key_nobody")

    with pytest.raises(InvalidInputError, match=detail) as refused:
        assign_quarantined(actor=telling.cast.ann, entry=entry, call=call(telling, **changes), reason=WHY)

    assert refused.value.field == field
    assert Quarantine.objects.count() == 1
    assert books()["events"] == []
    assert not AuditEvent.objects.filter(action="quarantine.booked").exists()


def test_a_time_to_come_is_refused(telling: Telling) -> None:
    later = call(telling, at=telling.start + timedelta(days=40))

    with pytest.raises(InvalidInputError) as refused:
        assign_quarantined(actor=telling.cast.ann, entry=kept(telling, key="x"), call=later, reason=WHY)

    assert refused.value.field == "at"


def test_a_conflict_is_corrected_and_never_assigned(telling: Telling) -> None:
    import_rows(source=telling.gateway.public_id, rows=[telling.row(0)])
    entry = kept(telling, output_tokens=99)
    assert entry.reason == QuarantineReason.CONFLICT

    with pytest.raises(AlreadyDoneError, match="Correct it, then dismiss the row"):
        assign_quarantined(actor=telling.cast.ann, entry=entry, call=call(telling), reason=WHY)


def test_dismissing_books_nothing_and_is_final(telling: Telling) -> None:
    entry = kept(telling, key="key_nobody")

    dismiss_quarantined(actor=telling.cast.ann, entry=entry, reason="A test of the gateway.")

    assert books()["events"] == []
    for act in (_assign, _dismiss):
        with pytest.raises(AlreadyDoneError, match="dismissed by Ann Keller"):
            act(telling, entry)
    event = AuditEvent.objects.get(action="quarantine.dismissed")
    assert (event.reason, event.after["external_id"]) == ("A test of the gateway.", "call-000000")


@pytest.mark.parametrize("who", ["ada", "ben", "cleo", "fay", "audrey"])
def test_only_administrators_act(telling: Telling, who: str) -> None:
    entry = kept(telling, key="key_nobody")
    person = getattr(telling.cast, who)

    with pytest.raises(RoleNeededError, match="Ask Ann Keller"):
        assign_quarantined(actor=person, entry=entry, call=call(telling), reason=WHY)
    with pytest.raises(RoleNeededError, match="Ask Ann Keller"):
        dismiss_quarantined(actor=person, entry=entry, reason=WHY)


def test_rows_that_sql_sets_aside_have_ids_too(cast: Cast, telling: Telling) -> None:
    import_rows(source=telling.gateway.public_id, rows=[telling.row(0, key="a"), telling.row(2, key="b")])

    ids = set(Quarantine.objects.values_list("public_id", flat=True))
    assert len(ids) == 2
    assert all(len(public_id) == len("qrn_") + 18 for public_id in ids)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {"id": "rsv_1", "at": "2026-11-23T12:00:00Z", "model": "m", "usage": {"input_tokens": 7}},
            ("rsv_1", "m", 7, "", True),
        ),
        ({"reservation": "rsv_2", "served_model": "s", "input_tokens": -4}, ("rsv_2", "s", None, "", False)),
        ({"external_id": "c", "key": "key_1", "at": "noon"}, ("c", "", 0, "key_1", False)),
        ({"text": "nonsense"}, ("", "", 0, "", False)),
        (["no", "object"], ("", "", 0, "", False)),
    ],
)
def test_every_kind_of_row_is_read_as_far_as_it_goes(row: Any, expected: tuple[Any, ...]) -> None:
    found = told(row, external_id="")

    shown = (found.external_id, found.model, found.tokens["input_tokens"], found.key, found.at is not None)
    assert shown == expected


def test_facts_name_the_way_to_each_value() -> None:
    row = {"usage": {"input_tokens": 5}, "tags": ["a", {"b": None}], "empty": {}}

    assert [(fact.name, fact.value) for fact in facts(row)] == [
        ("usage.input_tokens", "5"),
        ("tags[1]", "a"),
        ("tags[2].b", "—"),
        ("empty", "{}"),
    ]


SECRET = "sk-" + "4f" * 20


@pytest.mark.parametrize(
    "row",
    [
        {"authorization": "anything"},
        {"headers": {"X-Api-Key": "anything"}},
        {"note": f"called with {SECRET}"},
        {"list": [[{"password": "anything"}]]},
        {f"{SECRET}": "anything else"},
        "Bearer anything.at-all",
    ],
)
def test_secrets_are_taken_out_wherever_they_stand(row: Any) -> None:
    shown = str(redacted(row)).replace("anything else", "")

    assert SECRET not in shown
    assert "anything" not in shown


def test_counts_of_tokens_are_no_secrets() -> None:
    row = {"input_tokens": 5, "token_count": "7", "monkey": "x", "key_id": "key_abc"}

    assert redacted(row) == row


def _assign(telling: Telling, entry: Quarantine) -> None:
    assign_quarantined(actor=telling.cast.ann, entry=entry, call=call(telling), reason=WHY)


def _dismiss(telling: Telling, entry: Quarantine) -> None:
    dismiss_quarantined(actor=telling.cast.ann, entry=entry, reason=WHY)
