"""Usage that a gateway pushes is booked once, row by row, and only for the gateway that signs it."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator

from budgets.models import Entry, ScopeKind
from core import clock
from gateway import pushes
from gateway.auth import credential_of, secret_for, signature, signed_headers
from gateway.models import Gateway
from keys.secrets import new_token
from portal import ledger
from portal.asgi import application
from tests.gateway.conftest import Gus, World
from usage.models import Quarantine, QuarantineReason, UsageDay, UsageEvent

PATH = "/gateway/v1/usage"
JSON, LINES, CSV = "application/json", "application/x-ndjson", "text/csv"


def row(world: World, call: str, **changes: Any) -> dict[str, Any]:
    """Return one call of 1,000 tokens in, 400 of them cached, and 100 out, on the cheap model."""
    usage = {"input_tokens": 1_000, "cached_tokens": 400, "output_tokens": 100, **changes.pop("usage", {})}
    return {
        "id": call,
        "at": clock.now().isoformat(),
        "key_id": world.key.public_id,
        "model": "small",
        "usage": usage,
        "finish": "stop",
        **changes,
    }


def push(gus: Gus, body: Any, kind: str = JSON, **headers: str) -> Any:
    """Send one signed push; `headers` replace what the signature made."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    signed = signed_headers(
        credential=credential_of(gus.gateway),
        method="POST",
        target=PATH,
        body=raw,
        now_seconds=clock.now().timestamp(),
    )
    return gus.client.post(PATH, raw, content_type=kind, headers={**signed, **headers})


def counts(answer: Any) -> tuple[int, int, int]:
    assert answer.status_code == 200, answer.content
    told = answer.json()
    return told["booked"], told["known"], told["quarantined"]


def test_a_list_is_booked_on_the_budgets_of_its_key_and_the_books_agree(world: World) -> None:
    world.budget("day", kind=ScopeKind.PROJECT, limit="10")

    answer = push(world.gus, [row(world, "a"), row(world, "b", usage={"reasoning_tokens": 30})])

    assert counts(answer) == (2, 0, 0)
    assert answer.json()["errors"] == []
    assert set(UsageEvent.objects.values_list("source", "external_id", "late")) == {
        (world.gus.gateway.public_id, "a", True),
        (world.gus.gateway.public_id, "b", True),
    }
    # 1,000 in and 100 out at 1 and 2 millionths of a dollar; the model has no cheaper price for cached input.
    assert [f"{day.cost_usd:.6f}" for day in UsageDay.objects.all()] == ["0.002400"]
    assert Entry.objects.get().kind == "late"
    assert ledger.verify().findings == ()


def test_the_same_push_again_changes_nothing(world: World) -> None:
    rows = [row(world, f"call-{number}") for number in range(5)]
    push(world.gus, rows)
    before = list(UsageDay.objects.values_list("calls", "cost_usd"))

    assert counts(push(world.gus, rows[::-1])) == (0, 5, 0)
    assert counts(push(world.gus, [*rows[2:], row(world, "new")])) == (1, 3, 0)
    assert UsageEvent.objects.count() == 6
    assert before[0][0] == 5


def test_duplicates_in_one_push_are_one_call_and_other_figures_a_conflict(world: World) -> None:
    same = row(world, "twice")
    other = {**same, "usage": {**same["usage"], "output_tokens": 7}}

    answer = push(world.gus, [same, same, other])

    assert counts(answer) == (1, 1, 1)
    [fault] = answer.json()["errors"]
    assert (fault["line"], fault["id"], fault["reason"]) == (3, "twice", "conflict")
    assert UsageEvent.objects.get().output_tokens == 100


def test_one_bad_row_never_stops_the_others_and_the_answer_names_it(world: World) -> None:
    lines = [
        json.dumps(row(world, "first")).encode(),
        b'{"id": "broken", "at": ',
        b"",
        json.dumps(row(world, "bad-text", model="caf\u00e9")).encode("utf-8").replace(b"\\u00e9", b"\xe9"),
        json.dumps(row(world, "long", provider_id="x" * 70_000)).encode(),
        json.dumps(row(world, "stranger", key_id="key_nobody")).encode(),
        json.dumps(row(world, "negative", usage={"output_tokens": -1})).encode(),
        json.dumps(row(world, "endless", usage={"output_tokens": float("inf")})).encode(),
        json.dumps(row(world, "typo", cahced=1)).encode(),
        json.dumps({**row(world, "no-usage"), "usage": None}).encode(),
        json.dumps(row(world, "last")).encode(),
    ]

    answer = push(world.gus, b"\r\n".join(lines), LINES)

    assert counts(answer) == (2, 0, 8)
    assert [(fault["line"], fault["reason"]) for fault in answer.json()["errors"]] == [
        (2, "malformed"),
        (4, "bad_utf8"),
        (5, "oversize"),
        (6, "unknown_key"),
        (7, "negative"),
        (8, "infinite"),
        (9, "malformed"),
        (10, "malformed"),
    ]
    assert set(UsageEvent.objects.values_list("external_id", flat=True)) == {"first", "last"}
    assert Quarantine.objects.filter(source=world.gus.gateway.public_id).count() == 8


def test_only_the_first_faults_are_told_and_all_are_kept(world: World) -> None:
    answer = push(world.gus, [row(world, f"call-{number}", model="nobody") for number in range(50)])

    assert counts(answer) == (0, 0, 50)
    assert [fault["line"] for fault in answer.json()["errors"]] == list(range(1, pushes.ERRORS_TOLD + 1))
    assert Quarantine.objects.filter(reason=QuarantineReason.UNKNOWN_MODEL).count() == 50


def test_csv_as_a_spreadsheet_writes_it_is_read(world: World) -> None:
    at, key = clock.now().isoformat(), world.key.public_id
    text = "\r\n".join(
        [
            "id,at,key_id,model,input_tokens,output_tokens,cached_tokens,cache_hit,provider_id",
            f'a,{at},{key},small,1000,100,400,false,"chatcmpl, with ""commas"""',
            f"b,{at},{key},small,5,,,true,",
            f"c,{at},{key},small,12.5,1,,,",
            f'd,{at},{key},"small,1,1,,,',
            f"e,{at},{key},small,1",
            "",
        ]
    )

    answer = push(world.gus, b"\xef\xbb\xbf" + text.encode(), "text/csv; charset=utf-8")

    assert counts(answer) == (2, 0, 3)
    assert [fault["line"] for fault in answer.json()["errors"]] == [4, 5, 6]
    first, second = UsageEvent.objects.order_by("external_id")
    assert (first.input_tokens, first.cached_tokens, first.output_tokens) == (1000, 400, 100)
    assert first.provider_call_id == 'chatcmpl, with "commas"'
    assert (second.cache_hit, second.cost_usd) == (True, 0)


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"[{]", JSON, 400, "invalid_request"),
        (b'{"rows": []}', JSON, 400, "invalid_request"),
        (b"[" * 40 + b"]" * 40, JSON, 400, "invalid_request"),
        (b"id,at,key_id,model,cost\n", CSV, 400, "invalid_request"),
        (b"id,at,model\n", CSV, 400, "invalid_request"),
        (b"\n", CSV, 400, "invalid_request"),
        (b"[]", "application/xml", 415, "unsupported_media_type"),
        (b"[]", "application/json; charset=latin-1", 415, "unsupported_media_type"),
    ],
)
def test_a_body_without_rows_is_refused_and_books_nothing(
    world: World, body: bytes, kind: str, status: int, code: str
) -> None:
    answer = push(world.gus, body, kind)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer["Content-Type"] == "application/problem+json"
    assert not UsageEvent.objects.exists()


def test_a_body_over_the_limit_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushes, "MAX_PUSH_BYTES", 1_000)

    answer = push(world.gus, b" " * 1_001)

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_a_large_push_is_more_than_a_form_may_be(world: World) -> None:
    rows = [row(world, f"call-{number:05}", provider_id="p" * 90) for number in range(4_500)]

    assert counts(push(world.gus, rows)) == (4_500, 0, 0)
    assert UsageDay.objects.get().calls == 4_500


def test_only_post_and_only_plain_bodies(world: World) -> None:
    assert world.gus.client.get(PATH).status_code == 405
    answer = push(world.gus, [], **{"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_a_push_is_signed_like_every_call_of_a_gateway(world: World) -> None:
    body = json.dumps([row(world, "a")]).encode()
    good = signed_headers(
        credential=credential_of(world.gus.gateway),
        method="POST",
        target=PATH,
        body=body,
        now_seconds=clock.now().timestamp(),
    )
    wrong = signature(
        secret=secret_for(world.gus.gateway, 2),
        method="POST",
        target=PATH,
        timestamp=good["Purser-Timestamp"],
        nonce=good["Purser-Nonce"],
        body=body,
    )
    tries = {
        "gateway_unknown": {**good, "Purser-Gateway": "gw_nobody"},
        "gateway_signature_invalid": {**good, "Purser-Signature": wrong},
        "gateway_signature_stale": signed_headers(
            credential=credential_of(world.gus.gateway),
            method="POST",
            target=PATH,
            body=body,
            now_seconds=clock.now().timestamp() - 120,
        ),
    }
    for code, headers in tries.items():
        answer = world.gus.client.post(PATH, body, content_type=JSON, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, code)
    assert not UsageEvent.objects.exists()


def test_a_signature_is_good_once(world: World) -> None:
    body = json.dumps([row(world, "a")]).encode()
    headers = signed_headers(
        credential=credential_of(world.gus.gateway),
        method="POST",
        target=PATH,
        body=body,
        now_seconds=clock.now().timestamp(),
    )
    first, again = (world.gus.client.post(PATH, body, content_type=JSON, headers=headers) for _ in range(2))

    assert counts(first) == (1, 0, 0)
    assert (again.status_code, again.json()["code"]) == (401, "gateway_signature_replayed")


def test_another_gateways_rows_are_its_own(world: World) -> None:
    other = Gus(Gateway.objects.create(name="other", live_versions=[1]))
    push(world.gus, [row(world, "same-name")])

    assert counts(push(other, [row(world, "same-name", usage={"output_tokens": 3})])) == (1, 0, 0)
    assert set(UsageEvent.objects.values_list("source", "output_tokens")) == {
        (world.gus.gateway.public_id, 100),
        (other.gateway.public_id, 3),
    }


def test_a_call_that_was_authorised_here_is_not_booked_twice(world: World) -> None:
    reservation = world.gus.authorize(world.token).json()["reservation"]

    answer = push(world.gus, [row(world, reservation)])

    assert counts(answer) == (0, 0, 1)
    assert answer.json()["errors"][0]["reason"] == "conflict"
    assert world.gus.settle(reservation).json()["status"] == "settled"
    assert ledger.verify().findings == ()


def test_what_served_is_priced_where_the_catalogue_knows_it(world: World) -> None:
    push(world.gus, [row(world, "known", served_model="large"), row(world, "new", served_model="small-0815")])

    served = dict(UsageEvent.objects.values_list("external_id", "model__name"))
    assert served == {"known": "large", "new": "small"}


def test_secrets_are_never_kept(world: World) -> None:
    token, other = new_token(), "sk-" + secrets.token_hex(20)
    text = json.dumps({"key": token, "authorization": f"Bearer {other}"})

    push(world.gus, text.encode() + b"\n" + f'{{"id": "{token}", "x": '.encode(), LINES)

    kept = json.dumps(list(Quarantine.objects.values("row", "detail", "external_id")))
    assert Quarantine.objects.count() == 2
    assert token not in kept
    assert other not in kept


def test_text_that_the_database_cannot_hold_goes_to_quarantine(world: World) -> None:
    answer = push(
        world.gus,
        b'{"id": "nul\\u0000", "at": "2026-01-01T00:00:00Z", "key_id": "k", "model": "m", "usage": {}}\n'
        b'{"id": "half\\ud800", "at": "2026-01-01T00:00:00Z", "key_id": "k", "model": "m", "usage": {}}\n',
        LINES,
    )

    assert counts(answer) == (0, 0, 2)


def test_the_server_leads_pushes_to_django_and_decisions_elsewhere() -> None:
    async def ask(path: str) -> Any:
        scope = {
            "type": "http",
            "method": "PUT",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1")],
        }
        talk = ApplicationCommunicator(application, scope)
        await talk.send_input({"type": "http.request", "body": b""})
        start = await talk.receive_output(10)
        body = await talk.receive_output(10)
        await talk.wait(10)
        return start["status"], json.loads(body["body"])["code"]

    assert asyncio.run(ask(PATH)) == (405, "method_not_allowed")
    assert asyncio.run(ask(PATH + "s")) == (404, "not_found")
