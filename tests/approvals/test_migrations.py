"""The last migrations go back and forth over rows: what they add is found again from what there was."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db import IntegrityError, connection, transaction
from django.db.migrations.executor import MigrationExecutor

from approvals.models import AccessRequest, BudgetComment, BudgetRequest, RequestStatus, Verdict
from approvals.services import ask_increase, comment_increase, decide, remind_due
from budgets.models import Budget, ScopeKind
from teams.models import Role
from tests import factories
from tests.api.world import open_budget
from tests.approvals.by_hand import execute
from tests.approvals.conftest import ask_for, lend
from tests.cast import Cast

WHY = "A launch in December."
# What going back forgets: how often somebody was reminded.
FORGOTTEN = {"reminders"}


@pytest.fixture
def story(cast: Cast) -> Iterator[None]:
    """Leave requests of every state: decided by a delegate, for less, talked about, in a second stage."""
    budget = open_budget(cast, ScopeKind.TEAM, cast.search.pk, "1000")
    project = open_budget(cast, ScopeKind.PROJECT, cast.ranking.pk, "500")
    lend(cast, "ben", "dan")
    given = asks(cast, project, 600)
    comment_increase(actor=cast.ben, request=given, text="What for?")
    decide(actor=cast.dan, request=given, verdict=Verdict.APPROVE, seen_revision=1, limit_usd=Decimal(550))
    waits = asks(cast, budget, 2000)
    comment_increase(actor=cast.cleo, request=waits, text="Why?")
    factories.new_policy(cast.tier2, [("lead", 1), ("director", 1)])
    asked = ask_for(cast)
    with time_machine.travel(asked.revised_at + timedelta(hours=30), tick=False):
        remind_due()
        decide(actor=cast.ben, request=asked, verdict=Verdict.APPROVE, seen_revision=1)
        remind_due()
    yield
    transaction.set_rollback(True)


def asks(cast: Cast, budget: Budget, usd: int) -> BudgetRequest:
    return ask_increase(actor=cast.ada, budget=budget, limit_usd=Decimal(usd), reason=WHY)


def migrate(name: str) -> None:
    """Go to a migration of approvals, in the transaction of the test."""
    execute("SET CONSTRAINTS ALL IMMEDIATE")
    executor = MigrationExecutor(connection)
    executor.migrate([("approvals", name)])
    execute("SET CONSTRAINTS ALL DEFERRED")


def newest() -> str:
    [name] = [name for app, name in MigrationExecutor(connection).loader.graph.leaf_nodes("approvals")]
    return str(name)


def kept(model: Any) -> list[dict[str, Any]]:
    rows = model.objects.order_by("pk").values()
    return [{name: value for name, value in row.items() if name not in FORGOTTEN} for row in rows]


def columns(table: str) -> set[str]:
    with connection.cursor() as cursor:
        return {column.name for column in connection.introspection.get_table_description(cursor, table)}


@pytest.mark.usefixtures("story")
def test_requests_for_more_budget_survive_the_way_back_and_forth() -> None:
    """Only what was said about them, which has no place there, is gone."""
    before = (kept(BudgetRequest), kept(AccessRequest))

    migrate("0010_budget_requests_for_another")
    assert not {"reminders", "revised_at", "revised_in_id"} & columns("approvals_budgetrequest")
    assert "stage_began_at" not in columns("approvals_accessrequest")
    with pytest.raises(IntegrityError, match="a decided request never changes"), transaction.atomic():
        execute("UPDATE approvals_budgetrequest SET comment = 'x' WHERE status = 'approved'")
    execute("UPDATE approvals_budgetrequest SET revision = 2, limit_usd = 2001 WHERE status = 'pending'")
    execute("UPDATE approvals_budgetrequest SET revision = 3, limit_usd = 2000 WHERE status = 'pending'")
    migrate(newest())

    after = (kept(BudgetRequest), kept(AccessRequest))
    assert [row.pop("revision") for row in after[0]] == [1, 3]
    assert [row.pop("revision") for row in before[0]] == [1, 1]
    assert after == before
    assert not BudgetComment.objects.exists()


@pytest.mark.usefixtures("story")
def test_what_was_migrated_is_decided_and_guarded_as_before(cast: Cast) -> None:
    migrate("0010_budget_requests_for_another")
    migrate(newest())

    waits = BudgetRequest.objects.get(status=RequestStatus.PENDING)
    comment_increase(actor=cast.ada, request=waits, text="For the launch.")
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        execute("UPDATE approvals_budgetcomment SET text = 'x'")
    with pytest.raises(IntegrityError, match="the clock of a stage"), transaction.atomic():
        execute("UPDATE approvals_accessrequest SET stage_began_at = created_at - interval '1 day'")
    decided = decide(actor=cast.cleo, request=waits, verdict=Verdict.APPROVE, seen_revision=1)
    assert decided.request.status == RequestStatus.APPROVED
    asked = AccessRequest.objects.get(status=RequestStatus.PENDING)
    assert asked.stages.get(index=asked.stage_index).role == Role.DIRECTOR
    with time_machine.travel(asked.stage_began_at, tick=False):
        ended = decide(actor=cast.cleo, request=asked, verdict=Verdict.APPROVE, seen_revision=1)
    assert ended.request.status == RequestStatus.APPROVED
    execute("SET CONSTRAINTS ALL IMMEDIATE")


@pytest.mark.usefixtures("story")
def test_going_back_behind_delegates_for_budgets_forgets_whom_they_stood_for() -> None:
    migrate("0009_approved_together")
    assert "on_behalf_of_id" not in columns("approvals_budgetrequest")
    migrate(newest())
    assert set(BudgetRequest.objects.values_list("on_behalf_of", flat=True)) == {None}
