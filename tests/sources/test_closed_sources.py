"""A log or an account that was closed is read no more, and nothing waits for it: no page, alarm or month."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from catalog.models import Provider
from core import clock
from core.errors import NotFoundError
from gateway.models import GatewayKind, GatewayLog, LogKind
from gateway.services import close_log, register_gateway, register_log
from gateway.tasks import log_of, pull_logs, pull_one_log
from tests.browsing import Visitor
from tests.cast import Cast
from tests.factories import GatewayFactory, ProviderAccountFactory
from tests.fakes.spend_logs import SpendLogs
from tests.gateway.conftest import World
from usage.models import (
    ImportCursor,
    Level,
    ReconciliationRun,
    RunState,
    SourceKind,
)
from usage.selectors.closing import Check, checklist
from usage.selectors.metrics import told_by, usage_lag_seconds
from usage.selectors.sources import gateways_told
from usage.services import add_account, close_account, pull_log, read_now, reconcile_day
from usage.services.cursors import open_cursor

LAST_MONTH = (clock.now().date().replace(day=1) - timedelta(days=1)).replace(day=1)


def all_read(month: date) -> Check:
    [check] = [each for each in checklist(month) if each.title == "All sources are read"]
    return check


def red_run(source: str, level: Level) -> None:
    at = {"first_run_at": clock.now(), "last_run_at": clock.now()}
    ReconciliationRun.objects.create(
        source=source, level=level, day=LAST_MONTH, state=RunState.UNREADABLE, **at
    )


def test_a_log_that_was_closed_does_not_hold_up_the_close_of_a_month(
    world: World, litellm: SpendLogs, spend: GatewayLog
) -> None:
    pull_log(source=log_of(spend))
    ImportCursor.objects.update(last_success_at=clock.now() - timedelta(days=90))
    red_run(world.gus.gateway.public_id, Level.CALLS)
    assert all_read(LAST_MONTH).detail == f"Not read to the end of the month: {spend.public_id}."

    close_log(actor=None, log=spend)

    assert all_read(LAST_MONTH).holds
    assert usage_lag_seconds(told_by(), clock.now()) == {}


def test_a_red_comparison_with_a_gateway_that_still_tells_holds_up_the_close(world: World) -> None:
    gateway = world.gus.gateway.public_id
    open_cursor(source=gateway, kind=SourceKind.JOURNAL)
    ImportCursor.objects.update(last_success_at=clock.now())
    red_run(gateway, Level.CALLS)
    assert all_read(LAST_MONTH).detail == "1 comparisons of the month are red because a source was not read."


@pytest.mark.parametrize("level", [Level.VOLUMES, Level.MONEY])
def test_an_account_that_was_closed_does_not_hold_up_the_close_of_a_month(cast: Cast, level: Level) -> None:
    account = add_account(actor=cast.ann, provider=Provider.OPENAI, name="org-1")
    red_run(account.public_id, level)
    assert not all_read(LAST_MONTH).holds

    close_account(actor=cast.ann, account=account, reason="We left.")

    assert all_read(LAST_MONTH).holds
    assert usage_lag_seconds(told_by(), clock.now()) == {}
    with pytest.raises(NotFoundError, match="read no more"):
        read_now(actor=cast.fay, source=f"{account.public_id}:usage")


def test_a_closed_log_is_shown_as_closed_and_not_as_late(cast: Cast) -> None:
    log = register_log(actor=None, gateway=GatewayFactory.create(), kind=LogKind.LITELLM, place="https://x")
    open_cursor(source=log.public_id, kind=SourceKind.LOG, gateway=log.gateway.public_id)
    ImportCursor.objects.update(last_success_at=clock.now() - timedelta(days=2))
    assert "Late" in Visitor(cast.fay).get("/sources/").words
    close_log(actor=None, log=log)
    rows = Visitor(cast.fay).get("/sources/").rows("gateways-h")
    [row] = [cells for cells in rows if "spend logs" in cells[0]]
    assert "Closed" in row
    assert not any("Read now" in cell for cell in row)


def test_a_job_that_was_queued_before_a_log_was_closed_does_not_open_it_again(spend: GatewayLog) -> None:
    pull_logs()
    close_log(actor=None, log=spend)
    with pytest.raises(GatewayLog.DoesNotExist):
        pull_one_log(spend.public_id)
    assert ImportCursor.objects.get().closed_at is not None


def test_a_source_that_is_read_again_is_open_again(spend: GatewayLog) -> None:
    open_cursor(source=spend.public_id, kind=SourceKind.LOG, gateway="gw_one")
    close_log(actor=None, log=spend)
    open_cursor(source=spend.public_id, kind=SourceKind.LOG)
    cursor = ImportCursor.objects.get()
    assert (cursor.closed_at, cursor.gateway) == (None, "gw_one")


def test_a_gateway_with_an_address_is_red_until_its_journal_is_read(world: World) -> None:
    def at(base_url: str) -> list[str]:
        register_gateway(actor=None, name="edge", kind=GatewayKind.LITELLM, base_url=base_url)
        return gateways_told()

    assert at("") == []
    [edge] = at("https://edge.internal")
    assert reconcile_day(source=edge, day=LAST_MONTH).state == RunState.UNREADABLE
    assert at("") == []


@pytest.mark.django_db
def test_what_holds_up_a_month_is_called_by_its_name() -> None:
    account = ProviderAccountFactory.create(name="org-1")
    ImportCursor.objects.create(source=f"{account.public_id}:cost")

    assert all_read(LAST_MONTH).detail == "Not read to the end of the month: OpenAI org-1 cost."


def test_months_before_the_first_one_used_are_not_listed(cast: Cast) -> None:
    assert len(Visitor(cast.fay).get("/reconciliation/periods/").rows("months-h")) == 2
