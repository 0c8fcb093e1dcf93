"""Asks several calls in one statement, as the combiner does when they arrive together."""

from __future__ import annotations

import json
import secrets as random
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import connection

from gateway.auth import credential_of
from gateway.hot.decisions import ASKS, Ask, answers, statement
from gateway.models import Gateway

AUTHORIZE, SETTLE, RELEASE = "/gateway/v1/authorize", "/gateway/v1/settle", "/gateway/v1/release"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One answer, read."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]


def ask_together(gateway: Gateway, asked: Sequence[tuple[str, bytes]]) -> list[Given]:
    """Ask well-formed calls of one kind, each under a signature of its own, and return their answers."""
    credential = credential_of(gateway)
    asks: list[Ask] = []
    for path, raw in asked:
        ask = ASKS[path](raw, credential=credential, nonce=random.token_urlsafe(24))
        assert isinstance(ask, Ask), "what is asked together is well formed"
        asks.append(ask)
    with connection.cursor() as cursor:
        cursor.execute(*statement(asks[0].kind, asks))
        found = answers(asks, cursor.fetchall())
    return [
        Given(
            status=each.status,
            body=json.loads(each.encode(), parse_float=Decimal),
            headers=dict(each.headers),
        )
        for each in found
    ]
