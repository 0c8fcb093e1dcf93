"""Makes budgets around what was spent: most on track, one near its limit, one over it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings

from budgets.models import Budget, BudgetLimit, Mode, ScopeKind, Window
from budgets.services.limits import change_limit
from catalog.models import Tier
from core.money import ZERO
from keys.models import ApiKey
from portal.demo.access import approver_of
from portal.demo.amounts import round_down, round_up
from portal.demo.calls import Call, total_usd
from portal.demo.people import Organisation
from portal.demo.story import DIRECTORS, PROJECTS, TEAMS, ProjectStory
from teams.models import Department, User
from usage.forecast import PACE_DAYS
from usage.selectors.periods import day_starts_at, organisation_today, this_month

SINCE = timedelta(days=80)
# A budget that is lowered below what is spent is over its limit without any call having slipped through.
LOWERED_BEFORE = timedelta(hours=3)
NEAR, LOWERED_TO, ROOM = Decimal("0.88"), Decimal("0.96"), Decimal("1.4")
Calls = Mapping[str, Sequence[Call]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A limit in US dollars from a moment on, who set it and why."""

    amount_usd: Decimal
    since: datetime
    actor: User
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What a project or a key spent this month, and at its present pace would spend in thirty days."""

    spent_usd: Decimal
    pace_usd: Decimal
    largest_day_usd: Decimal

    @property
    def on_track_usd(self) -> Decimal:
        """Return a limit that leaves room."""
        return round_up(max(self.pace_usd * ROOM, self.spent_usd * ROOM))


class Planner:
    """Opens the demo's budgets and remembers their monthly limits, so that wider ones can hold narrower ones."""

    def __init__(
        self, made: Organisation, keys: Mapping[str, Sequence[ApiKey]], calls: Calls, now: datetime
    ) -> None:
        self.made, self.keys, self.calls, self.now = made, keys, calls, now
        self.today = organisation_today(now)
        self.month_starts = day_starts_at(this_month(self.today).first_day)
        self.month_usd: dict[str, Decimal] = {}
        self.caps_usd: dict[int, Decimal] = {}

    def open_all(self) -> dict[int, Decimal]:
        """Open every budget and return the monthly cap of each key with a grant, by key id."""
        for story in PROJECTS:
            self._project(story)
            self._keys(story)
        for code in TEAMS:
            self._team(code)
        for code in DIRECTORS:
            self._department(code)
        total = sum((self.month_usd[code] for code in DIRECTORS), ZERO)
        fay = self.made.people["fay"]
        self._open(
            ScopeKind.ORGANISATION, 0, None, Window.MONTH, Mode.HARD, [self.plan(round_up(total), fay)]
        )
        return self.caps_usd

    def use(self, code: str, key: ApiKey | None = None) -> Use:
        """Return what a project, or one key of it, uses."""
        calls = self.calls[code]
        complete = [self.today - timedelta(days=back) for back in range(1, PACE_DAYS + 1)]
        by_day = dict.fromkeys(complete, ZERO)
        for call in calls:
            if call.day in by_day and (key is None or call.key is key):
                by_day[call.day] += call.cost_usd
        return Use(
            spent_usd=total_usd(calls, since=this_month(self.today).first_day, key=key),
            pace_usd=sum(by_day.values(), ZERO) / PACE_DAYS * 30,
            largest_day_usd=max(by_day.values()),
        )

    def _project(self, story: ProjectStory) -> None:
        plan = PLANS.get(story.code)
        if plan is None:
            return
        project, lead = self.made.projects[story.code], self.made.people[TEAMS[story.team][2]]
        mode, steps = plan(self, story, self.use(story.code), lead)
        department = project.team.department
        self._open(ScopeKind.PROJECT, project.pk, department, Window.MONTH, mode, steps)
        self.month_usd[story.code] = steps[-1].amount_usd
        if story.code == "support-bot":
            day_usd = round_up(self.use(story.code).largest_day_usd * 3)
            step = self.plan(day_usd, lead, "No single day may eat the month.")
            self._open(ScopeKind.PROJECT, project.pk, department, Window.DAY, Mode.HARD, [step])

    def _keys(self, story: ProjectStory) -> None:
        for one, key in zip(story.keys, self.keys[story.code], strict=True):
            if one.tier == 1:
                continue
            use = self.use(story.code, key)
            wanted = round_up(max(use.spent_usd * Decimal("1.3"), use.pace_usd * Decimal("1.2")))
            cap_usd = self.caps_usd[key.pk] = min(wanted, self.month_usd.get(story.code, wanted))
            approver = approver_of(self.made, story, one.tier, key.owner)
            step = Step(
                amount_usd=cap_usd,
                since=key.created_at,
                actor=approver,
                reason="The cap of the approved request.",
            )
            self._open(
                ScopeKind.KEY,
                key.pk,
                key.project.team.department,
                Window.MONTH,
                Mode.HARD,
                [step],
                tier=one.tier,
            )

    def _team(self, code: str) -> None:
        team, director = self.made.teams[code], self.made.people[DIRECTORS[TEAMS[code][1]]]
        stories = [story for story in PROJECTS if story.team == code]
        total = sum((self.month_usd.get(story.code, ZERO) for story in stories), ZERO)
        self.month_usd[code] = round_up(total * Decimal("1.15"))
        step = self.plan(self.month_usd[code], director)
        self._open(ScopeKind.TEAM, team.pk, team.department, Window.MONTH, Mode.HARD, [step])
        if code == "search":
            days = sum((self.use(story.code).largest_day_usd for story in stories), ZERO)
            warning = self.plan(
                round_up(days * 2), director, "Tell us when a day is twice as dear as usual."
            )
            self._open(ScopeKind.TEAM, team.pk, team.department, Window.DAY, Mode.SOFT, [warning])

    def _department(self, code: str) -> None:
        department = self.made.departments[code]
        total = sum((self.month_usd[team] for team, (_, home, _, _) in TEAMS.items() if home == code), ZERO)
        self.month_usd[code] = round_up(total * Decimal("1.1"))
        step = self.plan(self.month_usd[code], self.made.people["fay"])
        self._open(ScopeKind.DEPARTMENT, department.pk, department, Window.MONTH, Mode.HARD, [step])

    def plan(self, amount_usd: Decimal, actor: User, reason: str = "The yearly plan.") -> Step:
        """Return a limit that has been in force since before all usage."""
        return Step(amount_usd=amount_usd, since=self.now - SINCE, actor=actor, reason=reason)

    def _open(
        self,
        kind: ScopeKind,
        scope_id: int,
        department: Department | None,
        window: Window,
        mode: Mode,
        steps: Sequence[Step],
        *,
        tier: int | None = None,
    ) -> None:
        budget = Budget.objects.create(
            scope_kind=kind,
            scope_id=scope_id,
            department=department,
            window=window,
            mode=mode,
            time_zone=settings.TIME_ZONE,
            only_tier=Tier.objects.get(number=tier) if tier else None,
            created_at=steps[0].since,
        )
        BudgetLimit.objects.bulk_create(
            BudgetLimit(
                budget=budget,
                amount_usd=step.amount_usd,
                valid_from=step.since,
                actor=step.actor,
                reason=step.reason,
                recorded_at=step.since,
            )
            for step in steps
        )


def raise_one_today(made: Organisation) -> None:
    """Let ben raise a limit within his team's head-room, now and through the front door."""
    budget = Budget.objects.get(scope_kind=ScopeKind.PROJECT, scope_id=made.projects["query-help"].pk)
    change_limit(
        actor=made.people["ben"], budget=budget, amount_usd=Decimal(200), reason="Room for the Tier 2 trial."
    )


Plan = Callable[[Planner, ProjectStory, Use, User], tuple[Mode, list[Step]]]


def _on_track(planner: Planner, _story: ProjectStory, use: Use, lead: User) -> tuple[Mode, list[Step]]:
    return Mode.HARD, [planner.plan(use.on_track_usd, lead)]


def _near(planner: Planner, _story: ProjectStory, use: Use, lead: User) -> tuple[Mode, list[Step]]:
    limit_usd = round_up(use.spent_usd / NEAR)
    started = min(planner.month_starts + timedelta(hours=9), planner.now - timedelta(hours=2))
    return Mode.HARD, [
        planner.plan(round_up(max(use.pace_usd, limit_usd) * ROOM), lead),
        Step(amount_usd=limit_usd, since=started, actor=lead, reason="The plan for this month."),
    ]


def _over(planner: Planner, story: ProjectStory, use: Use, lead: User) -> tuple[Mode, list[Step]]:
    opened = planner.now - timedelta(days=story.days + 1)
    before_usd, after_usd = round_up(use.spent_usd * ROOM), round_down(use.spent_usd * LOWERED_TO)
    reason = "The backfill costs more than planned: nothing more until we have met."
    return Mode.HARD, [
        Step(amount_usd=before_usd, since=opened, actor=lead, reason="The backfill of last year's invoices."),
        Step(amount_usd=after_usd, since=planner.now - LOWERED_BEFORE, actor=lead, reason=reason),
    ]


def _fixed(planner: Planner, _story: ProjectStory, _use: Use, lead: User) -> tuple[Mode, list[Step]]:
    return Mode.HARD, [planner.plan(Decimal(150), lead)]


def _soft(planner: Planner, _story: ProjectStory, use: Use, lead: User) -> tuple[Mode, list[Step]]:
    return Mode.SOFT, [planner.plan(max(use.on_track_usd, Decimal(40)), lead)]


def _notify(planner: Planner, _story: ProjectStory, use: Use, lead: User) -> tuple[Mode, list[Step]]:
    return Mode.NOTIFY, [planner.plan(use.on_track_usd, lead)]


# catalogue-tags has none, to show what that looks like.
PLANS: dict[str, Plan] = {
    "search-rank": _near,
    "invoice-ocr": _over,
    "support-bot": _on_track,
    "sql-assistant": _on_track,
    "query-help": _fixed,
    "fraud-notes": _fixed,
    "ticket-triage": _soft,
    "docs-summaries": _notify,
}
