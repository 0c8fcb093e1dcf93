"""Prices the past again: figures first, a second person's word, then corrections in batches."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from django.db import IntegrityError, connection, transaction

from catalog.models import LlmModel
from core import audit, clock
from core.errors import AlreadyDoneError, InvalidInputError, NotAllowedError, StaleError
from core.money import ZERO
from core.reasons import checked_reason
from teams.models import Team, User
from teams.selectors import require_admin
from usage.models import Repricing, RepricingState, TeamSum
from usage.selectors.closing import closed_between
from usage.services.corrections import MOST_AT_ONCE, Correction, correct_calls

log = structlog.get_logger(__name__)

LONGEST = timedelta(days=92)
BATCH_CALLS = 1_000
STRIDE = timedelta(days=1)
JUST_AFTER = timedelta(microseconds=1)
ONE_OPEN = "repricing_one_open_per_model"
CHANGED = "old_usd <> new_usd"
SUMS_SQL = f"""
    SELECT team_id, count(*), sum(old_usd), sum(new_usd) FROM usage_reprice(%s, %s, %s, %s)
    WHERE {CHANGED} GROUP BY team_id ORDER BY sum(new_usd - old_usd) DESC, team_id
"""  # noqa: S608  a constant of this code
BATCH_SQL = f"""
    SELECT source, external_id, at, new_usd - old_usd, price_ids FROM usage_reprice(%s, %s, %s, %s)
    WHERE {CHANGED} ORDER BY at FETCH FIRST %s ROWS WITH TIES
"""  # noqa: S608  as above


@transaction.atomic
def propose_repricing(
    *, actor: User, model: LlmModel, starts_at: datetime, ends_at: datetime, reason: str
) -> Repricing:
    """Work out what the calls of a model in [starts_at, ends_at) cost by the prices dated to them.

    It only proposes the difference. Nothing is booked before another administrator approves.

    Raises RoleNeededError, InvalidInputError for an impossible period or when nothing would change, and
    AlreadyDoneError while another repricing of the model is open.
    """
    require_admin(actor, "price the past again")
    text = checked_reason(reason)
    now = clock.now()
    ends = min(ends_at, now)
    if starts_at >= ends:
        raise InvalidInputError("Choose days that have begun, the first before the last.", field="first_day")
    if ends - starts_at > LONGEST + STRIDE:
        raise InvalidInputError(f"Choose at most {LONGEST.days} days at once.", field="last_day")
    _require_open(starts_at, ends)
    teams = _sums(model.pk, starts_at, ends, now)
    if not teams:
        raise InvalidInputError(
            "Every call of these days is charged by the prices of its time. First enter the right price, with"
            " the day from which it holds.",
            field="first_day",
        )
    try:
        with transaction.atomic():
            repricing = Repricing.objects.create(
                model=model,
                starts_at=starts_at,
                ends_at=ends,
                reason=text,
                calls=sum(team.calls for team in teams),
                old_usd=sum((team.old_usd for team in teams), ZERO),
                new_usd=sum((team.new_usd for team in teams), ZERO),
                teams=[team.as_json() for team in teams],
                proposed_by=actor,
                proposed_at=now,
                reached_at=starts_at,
            )
    except IntegrityError as error:
        if ONE_OPEN not in str(error):
            raise
        raise AlreadyDoneError(f"{model} is being priced again already. End that first.") from error
    _record(actor, "repricing.proposed", repricing, before={}, reason=text)
    return repricing


@transaction.atomic
def approve_repricing(*, actor: User, repricing: Repricing) -> Repricing:
    """Let the corrections be booked; another administrator than the one who proposed them does.

    Raises RoleNeededError, NotAllowedError, AlreadyDoneError, and StaleError when by now other figures
    would come out than those that were seen.
    """
    require_admin(actor, "approve a repricing")
    mine = _locked(repricing)
    if actor.pk == mine.proposed_by_id:
        raise NotAllowedError("You proposed it, so another administrator approves it.")
    _require_open(mine.starts_at, mine.ends_at)
    teams = _sums(mine.model_id, mine.starts_at, mine.ends_at, mine.proposed_at)
    if [team.as_json() for team in teams] != mine.teams:
        raise StaleError("Prices or calls changed since this was worked out. Reject it, and make it again.")
    _decide(mine, RepricingState.RUNNING, actor)
    _record(actor, "repricing.approved", mine, before={"state": RepricingState.WAITING}, reason=mine.reason)
    return mine


@transaction.atomic
def reject_repricing(*, actor: User, repricing: Repricing, reason: str) -> Repricing:
    """Reject a repricing, or take it back. Nothing changes. Raises as approve_repricing does."""
    require_admin(actor, "reject a repricing")
    answer = checked_reason(reason)
    mine = _locked(repricing)
    mine.answer = answer
    _decide(mine, RepricingState.REJECTED, actor)
    _record(actor, "repricing.rejected", mine, before={"state": RepricingState.WAITING}, reason=answer)
    return mine


def run_repricings(*, until: datetime) -> int:
    """Book what was approved, batch by batch, and return how many calls were corrected.

    Stops at `until`; the next run goes on. Two at once do not book anything twice: a batch holds its row.
    """
    booked = 0
    for repricing in Repricing.objects.filter(state=RepricingState.RUNNING).order_by("pk"):
        while clock.now() < until and (calls := _book_batch(repricing.pk)) is not None:
            booked += calls
    return booked


@transaction.atomic
def _book_batch(repricing_id: int) -> int | None:
    """Correct the next calls, or go on by a day, or end; None when there is nothing left for this process."""
    rows = Repricing.objects.select_for_update(no_key=True, skip_locked=True).order_by("pk")
    mine = rows.filter(pk=repricing_id, state=RepricingState.RUNNING).first()
    if mine is None:
        return None
    until = min(mine.reached_at + STRIDE, mine.ends_at)
    corrections = _batch(mine, until)
    booked = _correct(mine, corrections)
    mine.booked_calls += len(booked)
    mine.booked_usd += sum((each.amount_usd for each in booked), ZERO)
    mine.skipped_calls += len(corrections) - len(booked)
    mine.reached_at = corrections[-1].at + JUST_AFTER if corrections else until
    if not corrections and until >= mine.ends_at:
        mine.state, mine.done_at = RepricingState.DONE, clock.now()
        _record(None, "repricing.booked", mine, before={"state": RepricingState.RUNNING}, reason=mine.reason)
        log.info("usage.repriced", repricing=mine.public_id, calls=mine.booked_calls)
    mine.save()
    return len(booked)


def _correct(mine: Repricing, corrections: Sequence[Correction]) -> list[Correction]:
    """Book a batch and return what was booked of it."""
    booked: list[Correction] = []
    for first in range(0, len(corrections), MOST_AT_ONCE):
        part = corrections[first : first + MOST_AT_ONCE]
        found = correct_calls(actor=mine.decided_by, ref=mine.public_id, reason=mine.reason, corrections=part)
        booked += [each for each, what in zip(part, found, strict=True) if what.status == "corrected"]
    return booked


def _sums(model_id: int, starts_at: datetime, ends_at: datetime, known_at: datetime) -> list[TeamSum]:
    with connection.cursor() as cursor:
        cursor.execute(SUMS_SQL, [model_id, starts_at, ends_at, known_at])
        rows = cursor.fetchall()
    names = dict(Team.objects.filter(pk__in=[row[0] for row in rows]).values_list("pk", "name"))
    return [
        TeamSum(team=names.get(team, ""), calls=calls, old_usd=old, new_usd=new)
        for team, calls, old, new in rows
    ]


def _batch(mine: Repricing, until: datetime) -> Sequence[Correction]:
    with connection.cursor() as cursor:
        cursor.execute(BATCH_SQL, [mine.model_id, mine.reached_at, until, mine.proposed_at, BATCH_CALLS])
        rows = cursor.fetchall()
    return [
        Correction(
            source=source, external_id=external_id, at=at, amount_usd=amount, price_ids=tuple(price_ids)
        )
        for source, external_id, at, amount, price_ids in rows
    ]


def _locked(repricing: Repricing) -> Repricing:
    rows = Repricing.objects.select_for_update(no_key=True).order_by("pk").select_related("model")
    mine = rows.get(pk=repricing.pk)
    if mine.state != RepricingState.WAITING:
        raise AlreadyDoneError(f"It is {mine.get_state_display().lower()} already. Nothing was changed.")
    return mine


def _decide(mine: Repricing, state: RepricingState, actor: User) -> None:
    mine.state, mine.decided_by, mine.decided_at = state, actor, clock.now()
    mine.save(update_fields=["state", "decided_by", "decided_at", "answer"])


def _record(actor: User | None, action: str, mine: Repricing, *, before: dict[str, str], reason: str) -> None:
    audit.record(
        actor=actor, action=action, subject=mine, before=before, after={"state": mine.state}, reason=reason
    )


def _require_open(starts_at: datetime, ends_at: datetime) -> None:
    closed = closed_between(starts_at, ends_at)
    if closed:
        raise InvalidInputError(
            f"The books of {closed[0]:%B %Y} are closed, so what its calls were charged stands. Choose later"
            " days, or let finance reopen the month.",
            field="first_day",
        )
