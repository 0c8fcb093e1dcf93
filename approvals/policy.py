"""The rules of approval as arithmetic: who counts, how long, how much, by when. No database here.

People are ids; `Holders` says who holds each role now for the project that a request is about.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import combinations

LEAD, DIRECTOR, ADMIN = "lead", "director", "admin"
ABOVE = {LEAD: DIRECTOR, DIRECTOR: ADMIN}
REMINDED_AT_HALF, REMINDED_AT_END = 1, 2

Holders = Mapping[str, frozenset[int]]
NOBODY: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTerms:
    """Who must agree at one stage, how many of them, and for how long at most they may grant."""

    role: str
    quorum: int
    max_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lent:
    """A role that `giver` lends to `taker` for this place at this moment."""

    role: str
    giver: int
    taker: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The time of one role in a chain of them; `index` counts from 0, and the last one's turn goes on."""

    index: int
    began: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What one approver agreed to; None is "as asked"."""

    monthly_cap_usd: Decimal | None = None
    duration_days: int | None = None


def routed_role(role: str, holders: Holders, askers: Collection[int]) -> str:
    """Return the role that decides when the asker may hold `role` himself.

    The lead's own request goes to the director, the only director's to the administrators.
    """
    asking = frozenset(askers)
    if role == LEAD and asking & holders.get(LEAD, NOBODY):
        role = DIRECTOR
    directors = holders.get(DIRECTOR, NOBODY)
    if role == DIRECTOR and asking & directors and not directors - asking:
        role = ADMIN
    return role


def stages_for(terms: Sequence[StageTerms], holders: Holders, askers: Collection[int]) -> list[StageTerms]:
    """Return the stages of a request by these people: routed, each role once with the larger quorum."""
    stages: dict[str, StageTerms] = {}
    for term in terms:
        role = routed_role(term.role, holders, askers)
        before = stages.get(role, term)
        stages[role] = replace(before, role=role, quorum=max(before.quorum, term.quorum))
    return list(stages.values())


def escalated_role(
    wanted: str, stage_role: str, holders: Holders, askers: Collection[int], later: Collection[str] = ()
) -> str:
    """Return which role decides beside that of a stage when it is late: the `wanted` one, or the next above.

    The next one where nobody but the askers holds it, it decides the stage already, or it approves at one of
    the `later` stages, where who stepped in would be missing. Empty where none is left, or none was wanted.
    """
    role, taken = routed_role(wanted, holders, askers), {routed_role(stage_role, holders, askers), *later}
    while role and (role in taken or not holders.get(role, NOBODY) - frozenset(askers)):
        role = ABOVE.get(role, "")
    return role


def may_decide(
    role: str, holders: Holders, askers: Collection[int], counted: Collection[int] = NOBODY
) -> frozenset[int]:
    """Return who may decide a stage now: its role, without the askers and those who count already."""
    return holders.get(routed_role(role, holders, askers), NOBODY) - frozenset(askers) - frozenset(counted)


def who_decides(
    roles: Collection[str],
    holders: Holders,
    askers: Collection[int],
    counted: Collection[int] = NOBODY,
    lent: Iterable[Lent] = (),
) -> dict[int, int | None]:
    """Return who may decide a stage of any of these roles now, each with the person he decides for or None.

    A delegate stands for somebody who may decide himself; who may decide himself does it in his own right.
    """
    able: dict[int, int | None] = {}
    for role in roles:
        able |= dict.fromkeys(may_decide(role, holders, askers, counted))
    wanted = {routed_role(role, holders, askers) for role in roles}
    out = frozenset(askers) | frozenset(counted)
    own = frozenset(able)
    for each in lent:
        stands = each.role in wanted and each.giver in own & holders.get(each.role, NOBODY)
        if stands and each.taker not in out:
            able.setdefault(each.taker, each.giver)
    return able


def missing_role(stages: Sequence[StageTerms], holders: Holders, askers: Collection[int]) -> str | None:
    """Return a role that lacks people for the stages to be passed by distinct humans, or None.

    By Hall's theorem: any group of stages needs as many different candidates as the sum of its quorums.
    """
    candidates = [(stage, may_decide(stage.role, holders, askers)) for stage in stages]
    for size in range(1, len(candidates) + 1):
        for group in combinations(candidates, size):
            people = frozenset[int]().union(*(who for _, who in group))
            if len(people) < sum(stage.quorum for stage, _ in group):
                return routed_role(group[-1][0].role, holders, askers)
    return None


def granted_days(
    *, asked: int, offers: Iterable[Offer], pinned_max: Iterable[int], current_max: int | None
) -> int:
    """Return for how many days access is granted: the least of what was asked, offered and allowed.

    Allowed is what the stages pinned when the request was made, and what the policy in force says now.
    """
    offered = [offer.duration_days for offer in offers if offer.duration_days is not None]
    current = [] if current_max is None else [current_max]
    return min([asked, *offered, *pinned_max, *current])


def granted_cap_usd(*, asked: Decimal, offers: Iterable[Offer], current_max: Decimal | None) -> Decimal:
    """Return the cap a month in US dollars: the least of what was expected, offered and allowed now."""
    offered = [offer.monthly_cap_usd for offer in offers if offer.monthly_cap_usd is not None]
    current = [] if current_max is None else [current_max]
    return min([asked, *offered, *current])


def is_stricter(new: Sequence[StageTerms], old: Sequence[StageTerms]) -> bool:
    """Whether new stages ask for somebody more, in another order, or for fewer days than old ones."""
    if len(new) != len(old) or any(mine.role != theirs.role for mine, theirs in zip(new, old, strict=True)):
        return True
    pairs = list(zip(new, old, strict=True))
    return any(mine.quorum > theirs.quorum or mine.max_days < theirs.max_days for mine, theirs in pairs)


def turn_at(now: datetime, *, began: datetime, decide_by: datetime, sla: timedelta, roles: int = 1) -> Turn:
    """Return whose turn it is in a chain of so many `roles`, each of which may decide beside those before it.

    Each has the SLA, and half of the time that is left at most, before the next may decide too.
    """
    turn = Turn(index=0, began=began, ends_at=began + min(sla, (decide_by - began) / 2))
    while turn.ends_at <= now and turn.index + 1 < roles:
        began = turn.ends_at
        turn = Turn(index=turn.index + 1, began=began, ends_at=began + min(sla, (decide_by - began) / 2))
    return turn


def reminders_due(now: datetime, turn: Turn) -> int:
    """Return how many reminders are due: in each turn one at half of its time, and one at its end."""
    before = turn.index * REMINDED_AT_END
    if now >= turn.ends_at:
        return before + REMINDED_AT_END
    return before + REMINDED_AT_HALF if now >= turn.began + (turn.ends_at - turn.began) / 2 else before


def deadline(now: datetime, decide_within_hours: int) -> datetime:
    """Return the moment at which an undecided request expires."""
    return now + timedelta(hours=decide_within_hours)
