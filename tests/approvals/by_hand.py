"""Writes approvals by SQL, past the services: what the triggers alone must stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import IntegrityError, connection, transaction

DECIDE = """
    INSERT INTO approvals_decision (public_id, request_id, revision, stage_index, actor_id, on_behalf_of_id,
        verdict, comment, monthly_cap_usd, duration_days, at)
    VALUES (gen_random_uuid()::text::varchar(32), %(request)s, %(revision)s, %(stage)s, %(actor)s,
        %(on_behalf_of)s, %(verdict)s, 'By hand.', %(cap)s, %(days)s, %(at)s)
"""
GRANT = """
    INSERT INTO keys_grant (public_id, key_id, tier_id, model_ids, monthly_cap_usd, starts_at, expires_at,
        source_request, granted_by_id, revoked_reason, created_at)
    VALUES ('grn_by_hand', %(key)s, %(tier)s, %(models)s, %(cap)s, %(starts_at)s, %(expires_at)s, %(source)s,
        %(actor)s, '', now())
"""
END = "UPDATE approvals_accessrequest SET status = %s, decided_at = %s, key_id = %s WHERE id = %s"


def execute(sql: str, params: Any = None) -> int:
    """Run one statement as the application's role and return how many rows it touched."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return int(cursor.rowcount)


def change_requests(assignments: str, *, pk: int | None = None) -> int:
    """Update one request, or every one, with these assignments."""
    where = "" if pk is None else f" WHERE id = {pk}"
    return execute(f"UPDATE approvals_accessrequest SET {assignments}{where}")  # noqa: S608  text of the tests


def check_deferred_constraints() -> None:
    """Ask the database now for what it would ask at commit."""
    execute("SET CONSTRAINTS ALL IMMEDIATE")


@contextmanager
def refused_by(rule: str) -> Iterator[None]:
    """Expect that the database refuses what stands inside, by the rule of this name."""
    with pytest.raises(IntegrityError) as refusal, transaction.atomic():  # noqa: PT012  two ways to be refused
        yield
        check_deferred_constraints()
    cause = refusal.value.__cause__
    assert isinstance(cause, psycopg.Error)
    assert cause.diag.constraint_name == rule, str(refusal.value)


@contextmanager
def refused_as_append_only() -> Iterator[None]:
    with pytest.raises(IntegrityError, match="is append-only"), transaction.atomic():
        yield
