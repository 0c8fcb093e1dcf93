"""Seeded bugs: each is a small change of the Python or of the SQL that decides who may have what.

Some test must notice each of them; `make mutants-approvals` applies them one after the other.
"""

from __future__ import annotations

from tests.ledger.seeded import Mutant

FIRST = "approvals/migrations/0002_guards.sql"
GUARDS = "approvals/migrations/0006_request_life_guards.sql"
BUDGET_GUARDS = "approvals/migrations/0011_budget_request_life.sql"
DECIDING = "approvals.services.deciding"
SLACK = ("tests/portal/test_slack.py",)
RACES = ("tests/approvals/test_races.py",)
RULES = ("tests/approvals/test_policy.py",)
BY_HAND = ("tests/approvals/test_guards.py",)
LENT = ("tests/approvals/test_delegation.py",)
LIFE = ("tests/approvals/test_life.py",)
LEAVING = ("tests/portal/test_leaving.py",)
RULING = ("tests/approvals/test_ruling.py",)
STRICTER = ("tests/approvals/test_ruling_stricter.py",)
MORE = ("tests/approvals/test_extension.py",)
GLASS = ("tests/approvals/test_break_glass.py",)
MORE_BUDGET = ("tests/approvals/test_increases_lent.py", "tests/approvals/test_increases_life.py")
DECIDED = ("tests/approvals/test_decide.py", "tests/approvals/test_stages.py")
MUTANTS = (
    Mutant(
        name="nobody locks the request",
        home="approvals.services.common:locked",
        before="lock_first(rows, request.pk)",
        after="rows.get(pk=request.pk)",
        tests=RACES,
    ),
    Mutant(
        name="who leaves meanwhile asks all the same",
        home="approvals.services.submitting:require_worker",
        before="works_in(locked_person(actor), project.team)",
        after="works_in(actor, project.team)",
        tests=LEAVING,
    ),
    Mutant(
        name="rules change under whoever asks",
        home="approvals.services.submitting:submit.__wrapped__",
        before="keep_policy(tier)",
        after="pass",
        tests=RACES,
    ),
    Mutant(
        name="rules change under whoever breaks the glass",
        home="approvals.services.breaking:break_glass.__wrapped__",
        before="keep_policy(tier)",
        after="pass",
        tests=RACES,
    ),
    Mutant(
        name="new rules are about requests of the version before alone",
        home="approvals.services.ruling:_follow",
        before=".filter(tier=before.tier)",
        after=".filter(policy=before)",
        tests=RULING,
    ),
    Mutant(
        name="a rule that was dropped is asked for still",
        home="approvals.rules:missing_under",
        before="rules or request.policy",
        after="request.policy",
        tests=STRICTER,
    ),
    Mutant(
        name="what a request was let off is not asked for again",
        home="approvals.services.ruling:_follow_one",
        before="lacks and rules.asks_more_than(Rules.of(before))",
        after="False",
        tests=STRICTER,
    ),
    Mutant(
        name="a row is set against what it referred to before it was waited for",
        home="core.locks:lock_first",
        before="_bare(rows).get(pk=pk)",
        after='rows = rows.select_for_update(no_key=True, of=("self",)).order_by("pk")',
        tests=RACES,
    ),
    Mutant(
        name="a request past its time is open",
        home="approvals.services.common:require_in_time",
        before="request.status == RequestStatus.PENDING and past_its_time(request)",
        after="False",
        tests=DECIDED,
    ),
    Mutant(
        name="an old revision may be decided",
        home="approvals.services.common:require_seen",
        before="if seen_revision == request.revision:",
        after="if seen_revision <= request.revision:",
        tests=DECIDED,
    ),
    Mutant(
        name="a replay is decided again",
        home=f"{DECIDING}:decide",
        before="if earlier is not None and earlier.verdict == verdict:",
        after="if earlier is not None and earlier.verdict != verdict:",
        tests=DECIDED,
    ),
    Mutant(
        name="the quorum is one short",
        home=f"{DECIDING}:_act_on",
        before="if len(agreed) < stage.quorum:",
        after="if len(agreed) < stage.quorum - 1:",
        tests=DECIDED,
    ),
    Mutant(
        name="the last stage is skipped",
        home=f"{DECIDING}:_act_on",
        before="stage.index + 1 < len(stages_of(request))",
        after="stage.index + 2 < len(stages_of(request))",
        tests=DECIDED,
    ),
    Mutant(
        name="a denial needs no reason",
        home="core.reasons:checked_comment",
        before="if denies and not text:",
        after="if denies and text is None:",
        tests=DECIDED,
    ),
    Mutant(
        name="the approver raises the cap",
        home=f"{DECIDING}:_checked_offer",
        before="0 < quantise(monthly_cap_usd) <= most_usd",
        after="0 < quantise(monthly_cap_usd)",
        tests=DECIDED,
    ),
    Mutant(
        name="access for somebody who left the team",
        home=f"{DECIDING}:_require_beneficiary",
        before="if not works_in(person, team):",
        after="if not person.is_active:",
        tests=DECIDED,
    ),
    Mutant(
        name="the requester decides his own request",
        home="approvals.policy:may_decide",
        before=" - frozenset(askers) - frozenset(counted)",
        after=" - frozenset(counted)",
        tests=RULES,
    ),
    Mutant(
        name="the lead's own request goes to another lead",
        home="approvals.policy:routed_role",
        before="if role == LEAD and asking & holders.get(LEAD, NOBODY):",
        after="if role == LEAD and not holders.get(LEAD, NOBODY) - asking:",
        tests=RULES,
    ),
    Mutant(
        name="one person fills two stages",
        home="approvals.policy:missing_role",
        before="for size in range(1, len(candidates) + 1):",
        after="for size in range(1, 2):",
        tests=RULES,
    ),
    Mutant(
        name="a lower offer is forgotten",
        home="approvals.policy:granted_cap_usd",
        before="return min([asked, *offered, *current])",
        after="return min([asked, *current])",
        tests=RULES,
    ),
    Mutant(
        name="a delegate decides his own request",
        home="approvals.policy:who_decides",
        before="if stands and each.taker not in out:",
        after="if stands:",
        tests=LENT,
    ),
    Mutant(
        name="a lent role outlives its giver's",
        home="approvals.policy:who_decides",
        before="each.giver in own & holders.get(each.role, NOBODY)",
        after="each.giver not in out",
        tests=LENT,
    ),
    Mutant(
        name="a delegation never ends",
        home="approvals.eligibility:live_delegations",
        before="Delegation.objects.live().filter(",
        after="Delegation.objects.filter(",
        tests=LENT,
    ),
    Mutant(
        name="a role is lent everywhere",
        home="approvals.eligibility:delegation_covers",
        before="return everything | in_team | in_department",
        after="return Q()",
        tests=LENT,
    ),
    Mutant(
        name="more budget by a delegation that is over",
        home="approvals.eligibility:live_delegations",
        before="Delegation.objects.live().filter(",
        after="Delegation.objects.filter(",
        tests=MORE_BUDGET,
    ),
    Mutant(
        name="more budget by the requester's own delegate",
        home="approvals.policy:who_decides",
        before="each.giver in own & holders.get(each.role, NOBODY)",
        after="each.giver in holders.get(each.role, NOBODY)",
        tests=MORE_BUDGET,
    ),
    Mutant(
        name="more budget by all that the delegate may himself",
        home="approvals.owners:require_owner",
        before="if giver is None:",
        after="if giver is None or actor.pk != giver:",
        tests=MORE_BUDGET,
    ),
    Mutant(
        name="more budget by a role of the giver's that was not lent",
        home="approvals.owners:_lent_role",
        before="if role in lent and giver in here[role]",
        after="if giver in here[role]",
        tests=MORE_BUDGET,
    ),
    Mutant(
        name="more budget of a project that moved is decided as it was",
        home="approvals.services.increases.following:stranded_increases",
        before="over() | moved",
        after="over()",
        tests=MORE_BUDGET,
    ),
    Mutant(
        name="more budget than was asked for",
        home="approvals.services.increases.deciding:_checked_offer",
        before="or given_usd > request.limit_usd",
        after="or given_usd == 0",
        tests=MORE_BUDGET,
    ),
    Mutant(
        name="the database lets an approver give more budget than was asked for",
        home=BUDGET_GUARDS,
        before="l.kind = 'base' AND l.amount_usd <= NEW.limit_usd",
        after="l.kind = 'base'",
        tests=("tests/approvals/test_guards_increases.py",),
    ),
    Mutant(
        name="the database believes in delegations for more budget that are not there",
        home=BUDGET_GUARDS,
        before="l.giver_id = NEW.on_behalf_of_id AND l.taker_id = NEW.decided_by_id",
        after="l.giver_id = NEW.on_behalf_of_id OR true",
        tests=MORE_BUDGET,
    ),
    Mutant(
        name="the giver counts beside his delegate",
        home="approvals.eligibility:counted",
        before="if each.on_behalf_of_id}",
        after="if not each.actor_id}",
        tests=LENT,
    ),
    Mutant(
        name="who let a delegate approve denies as somebody who was told",
        home="approvals.eligibility:vetoers",
        before=" - counted(request)",
        after="",
        tests=LENT,
    ),
    Mutant(
        name="the next role replaces the stage's",
        home="approvals.eligibility:turn_roles",
        before="return (role, more) if",
        after="return (more,) if",
        tests=LIFE,
    ),
    Mutant(
        name="a new revision begins at the old stage",
        home="approvals.services.revising:start_again",
        before="request.stage_index = request.reminders = 0",
        after="request.reminders = 0",
        tests=DECIDED,
    ),
    Mutant(
        name="a second stage waits by the clock of the first",
        home="approvals.services.revising:begin_next_stage",
        before="request.stage_began_at, request.reminders = at, 0",
        after="request.reminders = 0",
        tests=LIFE,
    ),
    Mutant(
        name="a second stage is not reminded of",
        home="approvals.services.revising:begin_next_stage",
        before="request.stage_began_at, request.reminders = at, 0",
        after="request.stage_began_at = at",
        tests=LIFE,
    ),
    Mutant(
        name="finance never hears of what lead and director let wait",
        home="approvals.policy:turn_at",
        before="while turn.ends_at <= now and turn.index + 1 < roles:",
        after="if turn.ends_at <= now and turn.index + 1 < roles:",
        tests=MORE_BUDGET,
    ),
    Mutant(
        name="an account that was linked without a second factor approves",
        home="portal.factors:lacks_factor_in_slack",
        before="return not (link.with_second_factor and kept)",
        after="return not kept",
        tests=SLACK,
    ),
    Mutant(
        name="an account approves though its person's factor is gone",
        home="portal.factors:lacks_factor_in_slack",
        before="return not (link.with_second_factor and kept)",
        after="return not link.with_second_factor",
        tests=SLACK,
    ),
    Mutant(
        name="factors that were reset leave their account as it was",
        home="teams.services.factors:reset_factors.__wrapped__",
        before="SlackLink.objects.filter(person=mine).update(with_second_factor=False)",
        after="pass",
        tests=SLACK,
    ),
    Mutant(
        name="the database lets an escalation be hastened",
        home="approvals/migrations/0012_stage_clock.sql",
        before="NEW.stage_began_at IS DISTINCT FROM OLD.stage_began_at",
        after="NEW.stage_began_at > OLD.stage_began_at",
        tests=LIFE,
    ),
    Mutant(
        name="a moved project keeps its approvals",
        home="approvals.services.revising:stranded",
        before='over() | ~Q(team=F("project__team"))',
        after="over()",
        tests=LIFE,
    ),
    Mutant(
        name="an extension outlives the time to decide it",
        home="approvals.services.revising:set_clock",
        before="request.decide_by = min(request.decide_by, request.extends_grant.expires_at)",
        after="pass",
        tests=MORE,
    ),
    Mutant(
        name="an extension begins at once",
        home="keys.services.granting:_grant",
        before="supersedes.expires_at if supersedes else now",
        after="now",
        tests=MORE,
    ),
    Mutant(
        name="a denied emergency keeps its access",
        home="approvals.services.ratifying:end_unratified",
        before="revoke_grant(actor=None, grant=grant, reason=reason)",
        after="pass",
        tests=GLASS,
    ),
    Mutant(
        name="the rule looks at no money",
        home="approvals.services.auto:_spends_little",
        before="row.spent_percent < share",
        after="row.spent_percent >= 0",
        tests=MORE,
    ),
    Mutant(
        name="the rule lengthens what a human cut short",
        home=GUARDS,
        before="<= o.expires_at - o.starts_at)",
        after="<= interval '1 year')",
        tests=MORE,
    ),
    Mutant(
        name="the database counts no quorum",
        home=FIRST,
        before="bool_and(s.quorum <= (",
        after="bool_and(0 <= (",
        tests=BY_HAND,
    ),
    Mutant(
        name="the database lets people decide their own requests",
        home=GUARDS,
        before="IF humans && ARRAY[asked.requester_id, asked.beneficiary_id] OR",
        after="IF",
        tests=BY_HAND,
    ),
    Mutant(
        name="the database lets people count twice",
        home=GUARDS,
        before="AND humans && ARRAY[d.actor_id, d.on_behalf_of_id]) THEN",
        after="AND NEW.actor_id = d.actor_id) THEN",
        tests=BY_HAND,
    ),
    Mutant(
        name="the database lets decisions be dated back",
        home=GUARDS,
        before="NEW.at >= asked.decide_by OR statement_timestamp() >= asked.decide_by",
        after="NEW.at >= asked.decide_by",
        tests=BY_HAND,
    ),
    Mutant(
        name="the database lets decided requests change",
        home=GUARDS,
        before="IF TG_OP = 'DELETE' OR OLD.status <> 'pending' THEN",
        after="IF TG_OP = 'DELETE' THEN",
        tests=BY_HAND,
    ),
    Mutant(
        name="the database lets a gap into an extension",
        home=GUARDS,
        before="AND NEW.starts_at = o.expires_at)",
        after="AND NEW.starts_at >= o.expires_at)",
        tests=MORE,
    ),
    Mutant(
        name="the database lets a rule approve in Tier 3",
        home=GUARDS,
        before="p_asked.kind = 'extension' AND p_asked.tier_id = 2 AND EXISTS",
        after="p_asked.kind <> 'break_glass' OR EXISTS",
        tests=MORE,
    ),
    Mutant(
        name="the database lets an emergency last a day",
        home=GUARDS,
        before="make_interval(hours => p.break_glass_hours)",
        after="make_interval(hours => 24)",
        tests=GLASS,
    ),
    Mutant(
        name="the database believes in delegations that are not there",
        home=GUARDS,
        before="l.giver_id = NEW.on_behalf_of_id AND l.taker_id = NEW.actor_id",
        after="l.giver_id = NEW.on_behalf_of_id OR true",
        tests=BY_HAND,
    ),
)
