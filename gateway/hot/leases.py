"""Leases on the wire: a node takes money for one key and model, and decides those calls itself for a while.

Rare beside decisions, so each is a statement of its own and not part of a batch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from django.conf import settings

from gateway.auth import Credential
from gateway.hot.decisions import Row, authorize_item
from gateway.hot.holds import longest_hold_seconds
from gateway.hot.refusals import invalid_key, refused, replayed, unknown_lease
from gateway.hot.wire import Answer, LeaseCall, parse_lease, parse_lease_poll, parse_lease_return, refusal
from keys import secrets

LEASE_SQL = """
SELECT code, answer::text
FROM gateway_lease(%s::jsonb, %s, %s, %s, %s, make_interval(secs => %s), make_interval(secs => %s))
"""
POLL_SQL = "SELECT gateway_poll_leases(%s::jsonb, %s, %s::jsonb)"
RETURN_SQL = "SELECT gateway_return_lease(%s::jsonb, %s, %s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Single:
    """One statement by itself, and how its rows are read."""

    sql: str
    params: Sequence[Any]
    answer: Callable[[Sequence[Row]], Answer]


def ask_lease(body: bytes, *, credential: Credential, nonce: str) -> Single | Answer:
    """Ask for a lease, or for more of one. Raises WireError."""
    lease = parse_lease(body)
    if not secrets.is_wellformed(lease.call.key):
        return invalid_key()
    item = authorize_item(lease.call, credential=credential, nonce=nonce)
    params = (
        orjson.dumps(item).decode(),
        lease.node,
        lease.lease,
        lease.want_usd,
        settings.LEASE_FLOOR_USD,
        float(settings.LEASE_SECONDS),
        longest_hold_seconds(lease.call.mode),
    )
    return Single(sql=LEASE_SQL, params=params, answer=lambda rows: _lease_answer(rows[0], lease))


def ask_poll(body: bytes, *, credential: Credential, nonce: str) -> Single:
    """Ask which leases of a node must stop, and tell of its calls in flight. Raises WireError."""
    node, told = parse_lease_poll(body)
    allowed = orjson.dumps([{**item, "source": credential.public_id} for item in told]).decode()
    params = (_signature(credential, nonce), node, allowed)
    return Single(sql=POLL_SQL, params=params, answer=lambda rows: _poll_answer(rows[0][0]))


def ask_return(body: bytes, *, credential: Credential, nonce: str) -> Single:
    """Give back what a lease holds and its node does not need. Raises WireError."""
    lease, keep_usd = parse_lease_return(body)
    params = (_signature(credential, nonce), lease, keep_usd)
    return Single(sql=RETURN_SQL, params=params, answer=lambda rows: _return_answer(rows[0][0], lease))


ASKS: Mapping[str, Callable[..., Single | Answer]] = {
    "/gateway/v1/leases": ask_lease,
    "/gateway/v1/leases/poll": ask_poll,
    "/gateway/v1/leases/return": ask_return,
}


def _signature(credential: Credential, nonce: str) -> str:
    return orjson.dumps(
        {"gateway": credential.gateway_id, "nonce": nonce, "source": credential.public_id}
    ).decode()


def _lease_answer(row: Row, lease: LeaseCall) -> Answer:
    code, answer = row
    if code == "allow":
        return Answer(status=HTTPStatus.OK, body=answer.encode())
    return refused(code, orjson.loads(answer) if answer else {}, lease.call)


def _poll_answer(stopped: list[str] | None) -> Answer:
    if stopped is None:
        return replayed()
    return Answer(status=HTTPStatus.OK, body={"stop": stopped})


def _return_answer(status: str, lease: str) -> Answer:
    if status == "gateway_signature_replayed":
        return replayed()
    if status == "unknown":
        return refusal(unknown_lease())
    return Answer(status=HTTPStatus.OK, body={"lease": lease, "status": status})
