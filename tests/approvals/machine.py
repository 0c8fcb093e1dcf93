"""Approvals as a state machine: every act by everybody at any time, and one adversary for each threat.

The machine reads roles by itself and keeps its own books of what has ended, so that what the product says of
itself is never the witness.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db import IntegrityError, transaction
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from approvals.cases import case_of
from approvals.models import AccessRequest, Decision, Delegation, RequestKind, RequestStatus, Stage, Verdict
from approvals.selectors import find
from approvals.services import (
    amend,
    break_glass,
    close_requests_of,
    comment,
    decide,
    delegate,
    end_delegation,
    expire_due,
    extend,
    follow_all,
    remind_due,
    submit,
    withdraw,
)
from core import clock
from core.errors import DomainError
from core.models import AuditEvent
from keys.models import Grant
from keys.services import revoke_grant
from teams.models import Membership, Role, RoleAssignment, User
from tests import factories
from tests.approvals.by_hand import change_requests, execute
from tests.cast import make_cast

NAMES = ("ada", "ben", "cleo", "dan", "ann")
STAGES = ([("lead", 1)], [("lead", 2)], [("lead", 1), ("director", 1)])
FINAL = [status for status in RequestStatus if status is not RequestStatus.PENDING]

names = st.sampled_from(NAMES)
numbers = st.integers(0, 3)


class Approvals(RuleBasedStateMachine):
    """Two departments' worth of people, one project, requests in every state."""

    def __init__(self) -> None:
        super().__init__()
        self.example = transaction.atomic()
        self.example.__enter__()
        self.ended: dict[int, dict[str, Any]] = {}
        self.decided: dict[int, dict[str, Any]] = {}
        self.traveller = time_machine.travel(clock.now())
        self.time = self.traveller.start()

    def teardown(self) -> None:
        """Undo the example."""
        self.traveller.stop()
        transaction.set_rollback(True)
        self.example.__exit__(None, None, None)

    @initialize(stages=st.sampled_from(STAGES), askers=st.sets(names, min_size=1, max_size=3))
    def begin(self, stages: list[tuple[str, int]], askers: set[str]) -> None:
        self.cast = make_cast()
        self.people: dict[str, User] = {name: getattr(self.cast, name) for name in NAMES}
        for name in ("cleo", "ann"):
            factories.MembershipFactory.create(user=self.people[name], team=self.cast.search)
        factories.RoleAssignmentFactory.create(user=self.people["ann"], role=Role.LEAD, team=self.cast.search)
        self.new_policy(stages)
        for name in sorted(askers):
            self.asks(name=name, tier=2, days=30, usd=100)

    # ------------------------------------------------------------------------------ what people do

    @rule(name=names, tier=st.sampled_from([2, 3]), days=st.integers(1, 30), usd=st.integers(1, 999))
    def asks(self, name: str, tier: int, days: int, usd: int) -> None:
        self.attempt(
            submit,
            actor=self.people[name],
            project=self.cast.ranking,
            tier=factories.tier(tier),
            reason="A reason that is long enough.",
            duration_days=days,
            expected_monthly_usd=Decimal(usd),
        )

    @rule(number=numbers, chosen=numbers, cap=numbers)
    def somebody_eligible_approves(self, number: int, chosen: int, cap: int) -> None:
        request = self.request(number)
        allowed = sorted(self.allowed(request)) if request else []
        if allowed:
            name = allowed[chosen % len(allowed)]
            self.decides(name=name, number=number, verdict=Verdict.APPROVE, behind=0, cap=cap)

    @rule(name=names, number=numbers, verdict=st.sampled_from(Verdict), behind=st.integers(0, 1), cap=numbers)
    def decides(self, name: str, number: int, verdict: Verdict, behind: int, cap: int) -> None:
        request, actor = self.request(number), self.people[name]
        if request is None:
            return
        allowed = self.allowed(request) | (self.vetoers(request) if verdict == Verdict.DENY else set())
        before = Decision.objects.count()
        self.attempt(
            decide,
            actor=actor,
            request=request,
            verdict=verdict,
            seen_revision=request.revision - behind,
            comment="A reason.",
            monthly_cap_usd=Decimal(cap) if verdict == Verdict.APPROVE and cap else None,
        )
        if Decision.objects.count() > before:
            self.says_it_again(actor, Decision.objects.order_by("-pk")[0])
            assert behind == 0, "somebody decided what he had not read"
            assert name in allowed, f"{name} decided, and only {allowed} might have"
            assert clock.now() < request.decide_by

    def says_it_again(self, actor: User, decision: Decision) -> None:
        """Repeat the verdict that just counted: nothing is written, and the answer is the same."""
        before = (Decision.objects.count(), Grant.objects.count(), AuditEvent.objects.count())
        same = decide(
            actor=actor,
            request=decision.request,
            verdict=Verdict(decision.verdict),
            seen_revision=decision.revision,
            comment="Again.",
        )
        assert same.replayed
        assert same.decision == decision
        assert before == (Decision.objects.count(), Grant.objects.count(), AuditEvent.objects.count())

    @rule(giver=names, taker=names, role=st.sampled_from(["lead", "director"]), days=st.integers(1, 31))
    def lends(self, giver: str, taker: str, role: str, days: int) -> None:
        now = clock.now()
        self.attempt(
            delegate,
            actor=self.people[giver],
            taker=self.people[taker],
            role=Role(role),
            team=self.cast.search if role == Role.LEAD else None,
            department=self.cast.product if role == Role.DIRECTOR else None,
            valid_from=now,
            valid_until=now + timedelta(days=days),
        )

    @rule(name=names)
    def takes_back_what_he_lent(self, name: str) -> None:
        for lent in Delegation.objects.filter(giver=self.people[name]):
            self.attempt(end_delegation, actor=self.people[name], delegation=lent)

    @rule(number=numbers, days=st.integers(1, 60))
    def asks_for_more_time(self, number: int, days: int) -> None:
        grant = Grant.objects.order_by("-pk")[number : number + 1].first()
        if grant is not None:
            self.attempt(
                extend,
                actor=grant.key.owner,
                grant=grant,
                reason="A reason that is long enough.",
                duration_days=days,
            )

    @rule(name=names)
    def breaks_the_glass(self, name: str) -> None:
        self.attempt(
            break_glass,
            actor=self.people[name],
            project=self.cast.ranking,
            tier=self.cast.tier2,
            reason="A reason that is long enough.",
        )

    @rule(number=numbers, name=names)
    def says_something(self, number: int, name: str) -> None:
        request = self.request(number)
        if request is not None:
            before = AccessRequest.objects.filter(pk=request.pk).values().get()
            self.attempt(comment, actor=self.people[name], request=request, text="Why?")
            assert AccessRequest.objects.filter(pk=request.pk).values().get() == before

    @rule(stages=st.sampled_from(STAGES), rule_on=st.booleans(), veto=st.booleans())
    def the_policy_changes(self, stages: list[tuple[str, int]], rule_on: bool, veto: bool) -> None:
        told = {"told_role": Role.LEAD, "told_may_veto": True} if veto else {}
        self.new_policy(stages, auto_extend=rule_on, **told)

    @rule(name=names)
    def leaves_for_good(self, name: str) -> None:
        person = self.people[name]
        User.objects.filter(pk=person.pk).update(is_active=False)
        close_requests_of(person)
        assert not AccessRequest.objects.pending().filter(requester=person).exists()
        assert not Delegation.objects.live().filter(giver=person).exists()
        assert not Delegation.objects.live().filter(taker=person).exists()
        person.refresh_from_db()

    @rule(number=numbers, name=names)
    def opens_the_page(self, number: int, name: str) -> None:
        """What the page offers is what decide() would allow."""
        request, person = self.request(number), User.objects.get(pk=self.people[name].pk)
        if request is None or request.state is not RequestStatus.PENDING or not person.is_active:
            return
        may = name in self.allowed(request)
        if may or AccessRequest.objects.visible_to(person).filter(pk=request.pk).exists():
            case = case_of(person, find(person, request.public_id))
            assert case.may_decide == may
            assert not case.may_veto or name in self.vetoers(request)

    @rule(name=names, number=numbers, days=st.integers(1, 30))
    def amends(self, name: str, number: int, days: int) -> None:
        request = self.request(number)
        if request is not None:
            self.attempt(
                amend,
                actor=self.people[name],
                request=request,
                seen_revision=request.revision,
                reason="Another reason that is long enough.",
                duration_days=days,
                expected_monthly_usd=request.expected_monthly_usd,
            )

    @rule(name=names, number=numbers)
    def withdraws(self, name: str, number: int) -> None:
        request = self.request(number)
        if request is not None:
            self.attempt(withdraw, actor=self.people[name], request=request)

    @rule(name=names, number=numbers)
    def ends_a_grant(self, name: str, number: int) -> None:
        grant = Grant.objects.order_by("-pk")[number : number + 1].first()
        if grant is not None:
            others = list(Grant.objects.exclude(pk=grant.pk).order_by("pk").values())
            self.attempt(revoke_grant, actor=self.people[name], grant=grant, reason="A reason.")
            assert list(Grant.objects.exclude(pk=grant.pk).order_by("pk").values()) == others

    @rule(hours=st.sampled_from([1, 70, 170]), swept=st.booleans())
    def time_passes(self, hours: int, swept: bool) -> None:
        self.time.shift(timedelta(hours=hours))
        if swept:
            expire_due()
            follow_all(most=10)
            remind_due()

    @rule(name=names, what=st.sampled_from(["company", "team", "lead", "director"]))
    def joins_or_leaves(self, name: str, what: str) -> None:
        person = self.people[name]
        if what == "company":
            User.objects.filter(pk=person.pk).update(is_active=not User.objects.get(pk=person.pk).is_active)
            person.refresh_from_db()
        elif what == "team":
            self.toggle(Membership, factories.MembershipFactory, user=person, team=self.cast.search)
        elif what == "lead":
            place = {"role": Role.LEAD, "team": self.cast.search}
            self.toggle(RoleAssignment, factories.RoleAssignmentFactory, user=person, **place)
        else:
            home = {"role": Role.DIRECTOR, "department": self.cast.product}
            self.toggle(RoleAssignment, factories.RoleAssignmentFactory, user=person, **home)

    # --------------------------------------------------- an adversary with raw SQL for each threat

    @precondition(lambda self: self.decided)
    @rule()
    def rewrites_decisions(self) -> None:
        for change in ({"verdict": "deny"}, {"revision": 9}, {"actor_id": 1}, {"monthly_cap_usd": 9}):
            with self.refused():
                Decision.objects.update(**change)
        with self.refused():
            execute("DELETE FROM approvals_decision")

    @precondition(lambda self: self.ended)
    @rule()
    def reopens_what_is_over(self) -> None:
        for pk in self.ended:
            for change in ("status = 'pending', decided_at = NULL, key_id = NULL", "reason = 'x'"):
                with self.refused():
                    change_requests(change, pk=pk)

    @rule(delegate=names)
    def decides_for_the_asker(self, delegate: str) -> None:
        for request in AccessRequest.objects.all():
            for actor, for_whom in (
                (request.requester_id, None),
                (self.people[delegate].pk, request.beneficiary_id),
            ):
                with self.refused():
                    Decision.objects.create(
                        request=request,
                        revision=request.revision,
                        stage_index=request.stage_index,
                        actor_id=actor,
                        on_behalf_of_id=for_whom,
                        verdict=Verdict.APPROVE,
                        at=clock.now(),
                    )

    @rule(taker=names, giver=names)
    def decides_for_somebody_who_lent_him_nothing(self, taker: str, giver: str) -> None:
        now = clock.now()
        lent = Delegation.objects.filter(giver=self.people[giver], taker=self.people[taker])
        if lent.filter(valid_from__lte=now, valid_until__gt=now).exists():
            return
        for request in AccessRequest.objects.all():
            with self.refused():
                Decision.objects.create(
                    request=request,
                    revision=request.revision,
                    stage_index=request.stage_index,
                    actor=self.people[taker],
                    on_behalf_of=self.people[giver],
                    verdict=Verdict.APPROVE,
                    at=now,
                )

    @rule()
    def lets_a_rule_approve_what_it_may_not(self) -> None:
        for request in AccessRequest.objects.exclude(kind=RequestKind.EXTENSION):
            key = factories.ApiKeyFactory.create(owner=request.beneficiary, project=request.project)
            change = f"status = 'approved', decided_at = now(), by_rule = true, key_id = {key.pk}"
            with self.refused():
                change_requests(change, pk=request.pk)

    @rule(name=names)
    def helps_himself(self, name: str) -> None:
        for request in AccessRequest.objects.exclude(status=RequestStatus.APPROVED):
            key = factories.ApiKeyFactory.create(owner=request.beneficiary, project=request.project)
            with self.refused():
                change_requests("duration_days = duration_days + 1", pk=request.pk)
            with self.refused():
                change_requests(f"status = 'approved', decided_at = now(), key_id = {key.pk}", pk=request.pk)
            with self.refused():
                Grant.objects.create(
                    key=key,
                    tier=request.tier,
                    monthly_cap_usd=1,
                    starts_at=clock.now(),
                    expires_at=clock.now() + timedelta(days=1),
                    source_request=request.public_id,
                    granted_by=self.people[name],
                )
                execute("SET CONSTRAINTS ALL IMMEDIATE")

    # ------------------------------------------------------------------------------ what must hold

    @invariant()
    def the_database_would_commit(self) -> None:
        execute("SET CONSTRAINTS ALL IMMEDIATE")
        execute("SET CONSTRAINTS ALL DEFERRED")

    @invariant()
    def a_grant_is_within_one_approved_request(self) -> None:
        for grant in Grant.objects.all():
            request = AccessRequest.objects.get(public_id=grant.source_request)
            if request.kind == RequestKind.BREAK_GLASS:
                assert grant.expires_at - grant.starts_at <= timedelta(hours=4)
                assert grant.monthly_cap_usd == 50
                ended = request.status not in (RequestStatus.PENDING, RequestStatus.APPROVED)
                assert not ended or grant.revoked_at or grant.expires_at <= clock.now()
                continue
            if grant.supersedes is not None:
                assert grant.starts_at == grant.supersedes.expires_at, "an extension leaves a gap"
            counted = list(request.decisions.filter(revision=request.revision))
            assert request.status == RequestStatus.APPROVED
            assert (grant.tier_id, grant.key_id) == (request.tier_id, request.key_id)
            assert grant.monthly_cap_usd is not None
            for most in (request.expected_monthly_usd, *(each.monthly_cap_usd for each in counted)):
                assert most is None or grant.monthly_cap_usd <= most
            assert grant.expires_at - grant.starts_at <= timedelta(days=request.duration_days)

    @invariant()
    def every_approval_has_its_quorums_of_distinct_strangers(self) -> None:
        for request in AccessRequest.objects.filter(status=RequestStatus.APPROVED):
            counted = list(request.decisions.filter(revision=request.revision))
            humans = [human for each in counted for human in (each.actor_id, each.on_behalf_of_id) if human]
            assert len(humans) == len(set(humans))
            assert not {request.requester_id, request.beneficiary_id} & set(humans)
            stages = Stage.objects.filter(request=request, revision=request.revision)
            assert stages
            if request.by_rule:
                assert (request.tier_id, request.kind) == (2, RequestKind.EXTENSION)
                continue
            for stage in stages:
                agreed = [each for each in counted if each.stage_index == stage.index]
                assert len({each.actor_id for each in agreed}) >= stage.quorum
                assert all(each.verdict == Verdict.APPROVE for each in agreed)

    @invariant()
    def what_waits_has_somebody_to_decide_it_or_says_who_is_missing(self) -> None:
        for request in AccessRequest.objects.pending():
            case = case_of(request.requester, find(request.requester, request.public_id))
            assert bool(case.deciders) != bool(case.stuck)
            assert bool(self.allowed(request)) != bool(case.stuck)
            named = ("the lead of Search", "the director of Product", "an administrator")
            assert not case.stuck or any(role in case.stuck for role in named)

    @invariant()
    def what_is_over_stays_as_it_was(self) -> None:
        remember(self.ended, AccessRequest.objects.filter(status__in=FINAL))
        remember(self.decided, Decision.objects.all())

    @invariant()
    def nobody_waits_twice_for_the_same(self) -> None:
        pending = AccessRequest.objects.filter(status=RequestStatus.PENDING)
        waiting = list(pending.values_list("beneficiary", "project", "tier", "kind"))
        assert len(waiting) == len(set(waiting))

    @invariant()
    def each_change_left_one_record(self) -> None:
        for request in AccessRequest.objects.all():
            events = AuditEvent.objects.filter(object_id=request.public_id).values_list("action", flat=True)
            recorded = Counter(action.removeprefix("request.") for action in events)
            verdicts = recorded["agreed"] + recorded["approved"] + recorded["denied"]
            assert recorded["submitted"] == 1
            assert recorded["amended"] + recorded["restarted"] == request.revision - 1
            assert verdicts == Decision.objects.filter(request=request).count() + request.by_rule
            assert sum(recorded[status] for status in FINAL) == (request.status in FINAL)

    # ------------------------------------------------------------------------------------- helpers

    def attempt(self, act: Any, **arguments: Any) -> None:
        """Do something that may be refused, by a rule and never by an accident."""
        with suppress(DomainError), transaction.atomic():
            act(**arguments)

    def request(self, number: int) -> AccessRequest | None:
        """Return one of the requests, the newest first; None when there is none."""
        rows = AccessRequest.objects.order_by("-pk")
        count = rows.count()
        return rows[number % count] if count else None

    def allowed(self, request: AccessRequest) -> set[str]:
        """Return who might decide now, by the machine's own reading of roles.

        Whoever counts already neither decides again nor lets a delegate do it.
        """
        held: dict[str, set[str]] = {role: set() for role in Role}
        for name, person in self.people.items():
            if User.objects.get(pk=person.pk).is_active:
                for role in RoleAssignment.objects.filter(user=person).values_list("role", flat=True):
                    held[role].add(name)
        askers = {name for name, person in self.people.items() if person.pk == request.requester_id}
        stage = Stage.objects.filter(request=request, revision=request.revision, index=request.stage_index)
        roles = {self.routed(stage.values_list("role", flat=True)[0], held, askers)}
        passed = Decision.objects.filter(request=request, revision=request.revision)
        before = passed.filter(stage_index__lt=request.stage_index).values_list("at", flat=True)
        began = max(before, default=request.revised_at)
        if clock.now() >= began + min(timedelta(hours=48), (request.decide_by - began) / 2):
            roles |= self.steps_in(request, roles, held, askers)
        out = askers | self.counted(request)
        own = set().union(*(held[role] for role in roles)) - out
        return own | {
            taker
            for giver, taker, role in self.lent()
            if role in roles and giver in own & held[role] and taker not in out
        }

    def steps_in(
        self, request: AccessRequest, own: set[str], held: dict[str, set[str]], askers: set[str]
    ) -> set[str]:
        """Return the role that decides beside the stage's own when it is late: the first above that can."""
        wanted = self.routed({2: Role.DIRECTOR, 3: Role.ADMIN}[request.tier_id], held, askers)
        later = {stage["role"] for stage in request.policy.stages[1:]}
        upwards = [Role.DIRECTOR, Role.ADMIN][wanted == Role.ADMIN :]
        return set([role for role in upwards if role not in own | later and held[role] - askers][:1])

    def vetoers(self, request: AccessRequest) -> set[str]:
        """Return who was told of a request and might deny it now."""
        told = request.policy.told_role if request.policy.told_may_veto else ""
        holders = set(RoleAssignment.objects.filter(role=told).values_list("user", flat=True))
        told_now = {name for name, person in self.people.items() if person.pk in holders}
        askers = {name for name in told_now if self.people[name].pk == request.requester_id}
        return told_now - askers - self.counted(request)

    def routed(self, role: str, held: dict[str, set[str]], askers: set[str]) -> str:
        """Return who decides in place of a role that the asker holds himself."""
        if role == Role.LEAD and askers & held[Role.LEAD]:
            role = Role.DIRECTOR
        if role == Role.DIRECTOR and askers & held[Role.DIRECTOR] and not held[Role.DIRECTOR] - askers:
            role = Role.ADMIN
        return role

    def lent(self) -> list[tuple[str, str, str]]:
        """Return who lends what to whom now: giver, taker, role, both of them active."""
        now, by_id = clock.now(), {person.pk: name for name, person in self.people.items()}
        active = set(User.objects.filter(is_active=True).values_list("pk", flat=True))
        return [
            (by_id[lent.giver_id], by_id[lent.taker_id], lent.role)
            for lent in Delegation.objects.filter(valid_from__lte=now, valid_until__gt=now)
            if {lent.giver_id, lent.taker_id} <= active
        ]

    def counted(self, request: AccessRequest) -> set[str]:
        """Return who counts in the current revision: who decided, and whom they stood for."""
        rows = Decision.objects.filter(request=request, revision=request.revision)
        humans = {human for row in rows for human in (row.actor_id, row.on_behalf_of_id)}
        return {name for name, person in self.people.items() if person.pk in humans}

    def new_policy(self, stages: list[tuple[str, int]], **terms: Any) -> None:
        """Put other rules in force for Tier 2, under which the glass may be broken."""
        glass = {"break_glass_hours": 4, "break_glass_cap_usd": Decimal(50)}
        factories.new_policy(self.cast.tier2, stages, **glass, **terms)

    def toggle(self, model: Any, made_by: Any, **place: Any) -> None:
        """Take something away that is there, or put it there."""
        if not model.objects.filter(**place).delete()[0]:
            made_by.create(**place)

    @contextmanager
    def refused(self) -> Iterator[None]:
        """Do what the database must refuse."""
        with pytest.raises(IntegrityError), transaction.atomic():
            yield


def remember(books: dict[int, dict[str, Any]], rows: Any) -> None:
    """Write down rows that were not there, and compare those that were."""
    now: dict[int, dict[str, Any]] = {row["id"]: row for row in rows.values()}
    assert books.keys() <= now.keys(), "a row is gone"
    for pk, row in now.items():
        assert books.setdefault(pk, row) == row, "a row that is final has changed"
