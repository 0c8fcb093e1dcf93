"""The alarm clock's side of the gateways and providers: read what each of them has finished or counted."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, time, timedelta
from typing import Any

from celery import shared_task
from django.db.models import OuterRef, Q, Subquery

from catalog.models import Provider
from core import clock
from gateway import services
from gateway.adapters.anthropic import AnthropicReports
from gateway.adapters.litellm import LiteLlmJournal
from gateway.adapters.litellm_logs import LiteLlmSpendLogs, recounted
from gateway.adapters.nginx import NginxLog
from gateway.adapters.openai import OpenAiReports
from gateway.models import Gateway, GatewayLog, LogKind
from usage.models import ImportCursor, ProviderAccount, SourceKind
from usage.ports import ProviderReports, UsageLog
from usage.selectors.accounts import open_accounts
from usage.services import pull_log, pull_report, pull_source
from usage.services.cursors import due, open_cursor
from usage.services.logs import read_again
from usage.services.reports import source_name

REPORTS: Mapping[str, type[OpenAiReports] | type[AnthropicReports]] = {
    Provider.OPENAI: OpenAiReports,
    Provider.ANTHROPIC: AnthropicReports,
}
LOGS: Mapping[str, type[LiteLlmSpendLogs] | type[NginxLog]] = {
    LogKind.LITELLM: LiteLlmSpendLogs,
    LogKind.NGINX: NginxLog,
}
OPEN_LOG = Q(closed_at=None, gateway__disabled_at=None)  # nothing of a gateway that is off is read
# One that nobody began in twice its time is dropped: what is due is queued again.
PULL_EXPIRES_SECONDS = 120


@shared_task(name="gateway.forget_nonces")
def forget_nonces() -> int:
    """Forget the nonces of signatures that are too old to be accepted again."""
    return services.forget_nonces()


@shared_task(name="gateway.forget_standings")
def forget_standings() -> int:
    """Forget what decisions looked up and nobody asked for again."""
    return services.forget_standings()


@shared_task(name="gateway.pull_usage")
def pull_usage() -> dict[str, int]:
    """Pull every gateway that has an address and is due, and return how many rows each booked.

    A gateway that is down stops no other. Who was read longest ago comes first, and who there is no time for
    with the next run.
    """
    read_at = Subquery(ImportCursor.objects.filter(source=OuterRef("public_id")).values("last_success_at"))
    gateways = Gateway.objects.filter(disabled_at__isnull=True).exclude(base_url="")
    waiting = set(ImportCursor.objects.exclude(pk__in=due()).values_list("source", flat=True))
    goes_on = clock.time_left()
    return {
        gateway.name: pull_source(source=LiteLlmJournal(gateway)).booked
        for gateway in gateways.order_by(read_at.asc(nulls_first=True), "pk")
        if gateway.public_id not in waiting and goes_on()
    }


@shared_task(name="gateway.pull_logs")
def pull_logs() -> list[str]:
    """Have every log that is due read by a job of its own; return their ids."""
    logs = GatewayLog.objects.filter(OPEN_LOG).order_by("pk")
    return _queue(pull_one_log, list(logs.values_list("public_id", flat=True)), SourceKind.LOG)


@shared_task(name="gateway.pull_one_log", expires=PULL_EXPIRES_SECONDS)
def pull_one_log(public_id: str) -> dict[str, int]:
    """Read one log from where it was left, unless somebody does already."""
    log = GatewayLog.objects.select_related("gateway").get(OPEN_LOG, public_id=public_id)
    return asdict(pull_log(source=log_of(log)))


@shared_task(name="gateway.recount_logs")
def recount_logs() -> int:
    """Let the spend logs of yesterday be read once more, for rows that came later than the overlap."""
    yesterday = (clock.now() - timedelta(days=1)).date()
    since = datetime.combine(yesterday, time.min, tzinfo=UTC)
    ids = GatewayLog.objects.filter(closed_at=None, kind=LogKind.LITELLM).values_list("public_id", flat=True)
    return read_again(sources=list(ids), back=lambda position: recounted(position, since))


@shared_task(name="gateway.pull_reports")
def pull_reports() -> list[str]:
    """Have every report of a provider that is due read by a job of its own; return their sources."""
    accounts = list(open_accounts().filter(provider__in=REPORTS).exclude(admin_credential=""))
    kinds = (SourceKind.USAGE, SourceKind.COST)
    return [
        source
        for kind in kinds
        for source in _queue(pull_one_report, [source_name(account, kind) for account in accounts], kind)
    ]


@shared_task(name="gateway.pull_one_report", expires=PULL_EXPIRES_SECONDS)
def pull_one_report(source: str) -> dict[str, int]:
    """Read one report of one account from where it was left, unless somebody does already."""
    account_id, _, kind = source.partition(":")
    account = open_accounts().get(public_id=account_id)
    return asdict(pull_report(account=account, kind=SourceKind(kind), reports=reports_of(account)))


def log_of(log: GatewayLog) -> UsageLog:
    """Return the reader of a log."""
    return LOGS[log.kind](log)


def reports_of(account: ProviderAccount) -> ProviderReports:
    """Return the reader of an account's reports."""
    return REPORTS[account.provider](account)


def _queue(task: Any, sources: Sequence[str], kind: SourceKind) -> list[str]:
    """Queue a job for each of these sources that may be read now; who is queued twice is read once."""
    for source in sources:
        open_cursor(source=source, kind=kind)
    ready = list(due().filter(source__in=sources).order_by("source").values_list("source", flat=True))
    for source in ready:
        task.delay_on_commit(source)
    return ready
