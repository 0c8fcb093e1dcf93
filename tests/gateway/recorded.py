"""A conversation of 200 calls with the decision API, the same every time: every code, every act, bad input.

A call may name the reservation of an earlier one as `<n>`; who plays the conversation puts the id there.
"""

from __future__ import annotations

import json
import random
from itertools import cycle
from typing import Any

from tests.gateway.together import AUTHORIZE, RELEASE, SETTLE

CALLS = 200
CLASSES = ("standard", "batch", "scale", "", None)
Recorded = tuple[str, bytes]

ODD_QUESTIONS: tuple[dict[str, Any], ...] = (
    {"key": "<unknown>"},
    {"key": "psr_live_typo"},
    {"key": "<revoked>"},
    {"key": "<suspended>"},
    {"project_id": "billing"},
    {"project_id": "search-rank"},
    {"route": "/v1/realtime"},
    {"model": "nothing"},
    {"model": "unpriced"},
    {"model": "large"},
    {"model": "hearing", "route": "/v1/audio/transcriptions"},
    {"model": "hearing", "route": "/v1/audio/transcriptions", "units": {"second": 30.5}},
    {"model": "free"},
    {"key": "<busy>"},
    {"key": "<busy>"},
    {"key": "<poor>"},
    {"input_bytes": 90_000_000, "max_output_tokens": 8_000, "n": 100},
    {"input_bytes": -1},
    {"max_tokens": 5},
    {"context": "turbo"},
    {"request_id": "short"},
)
BAD_BODIES = (
    b"{",
    b"[]",
    b"",
    b'{"items": []}',
    b'{"reservation": 1}',
    b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}",
)


def recorded() -> list[Recorded]:
    """Return the conversation."""
    chance = random.Random(20_260_101)  # noqa: S311  it repeats itself on purpose
    odd = cycle(ODD_QUESTIONS)
    calls: list[Recorded] = []
    questions: list[dict[str, Any]] = []
    asked_at: list[int] = []
    while len(calls) < CALLS:
        act = chance.choice(
            ["ask", "ask", "odd", "odd", "again", "settle", "settle", "release", "batch", "bad"]
        )
        if act in ("ask", "odd"):
            question = _question(chance, len(calls)) | (next(odd) if act == "odd" else {})
            questions.append(question)
            asked_at.append(len(calls))
            calls.append((AUTHORIZE, json.dumps(question).encode()))
        elif act == "again" and questions:
            change = chance.choice([{}, {}, {"input_bytes": 7}])
            calls.append((AUTHORIZE, json.dumps(chance.choice(questions) | change).encode()))
        elif act == "settle" and asked_at:
            calls.append((SETTLE, json.dumps(_settlement(chance, asked_at)).encode()))
        elif act == "release" and asked_at:
            calls.append((RELEASE, json.dumps({"reservation": f"<{chance.choice(asked_at[-6:])}>"}).encode()))
        elif act == "batch" and asked_at:
            items = [_settlement(chance, asked_at) for _ in range(4)]
            items += [items[0], {**items[1], "reservation": "rsv_none"}]
            calls.append((SETTLE, json.dumps({"items": items}).encode()))
        elif act == "bad":
            calls.append((chance.choice([AUTHORIZE, SETTLE, RELEASE]), chance.choice(BAD_BODIES)))
    return calls


def _question(chance: random.Random, number: int) -> dict[str, Any]:
    return {
        "request_id": f"recorded-{number:04}",
        "key": "<good>",
        "model": "small",
        "route": "/v1/chat/completions",
        "input_bytes": chance.choice([0, 10, 1_000, 4_000]),
        "max_output_tokens": chance.choice([None, 1, 100, 5_000]),
        "n": chance.choice([1, 1, 3]),
        "context": chance.choice(["standard", "standard", "batch"]),
    }


def _settlement(chance: random.Random, asked_at: list[int]) -> dict[str, Any]:
    tokens = chance.choice([0, 9, 200, 3_000, -1])
    return {
        "reservation": f"<{chance.choice(asked_at[-6:])}>",
        "usage": {
            "input_tokens": tokens,
            "output_tokens": chance.choice([0, 50]),
            "cached_tokens": tokens // 3,
        },
        "finish": chance.choice(["stop", "stop", "cancelled", "gone"]),
        **chance.choice([{}, {}, {"cache_hit": True}, {"served_model": "large"}, {"estimated": True}]),
        **chance.choice([{}, {}, {"served_context": chance.choice(CLASSES)}]),
    }
