"""Makes keys with their grants, as they would have been asked for and approved, and what waits today."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from approvals.models import AccessRequest, Decision, Policy, RequestStatus, Stage, Verdict
from approvals.services import decide, submit
from catalog.models import Tier
from core import clock
from keys import secrets
from keys.models import ApiKey, Grant
from keys.services import issue_key, plan_activity, reveal, revoke, suspend
from portal.demo.people import Organisation
from portal.demo.story import DAYS, DIRECTORS, PROJECTS, TEAMS, KeyStory, ProjectStory
from teams.models import User

SHOWN_CHARACTERS = 13
LEAD_TIER = 2
RENEWED_FOR = timedelta(days=28)


def make_keys(made: Organisation, now: datetime, *, days: int = DAYS) -> dict[str, list[ApiKey]]:
    """Make the keys of every project for so many days of calls; their secrets are thrown away, so nobody can
    use them.
    """
    return {
        story.code: [_key(made, story, one, now, days=story.days_of(days) + 2) for one in story.keys]
        for story in PROJECTS
    }


def grant_tiers(
    made: Organisation, keys: Mapping[str, Sequence[ApiKey]], caps: Mapping[int, Decimal], now: datetime
) -> list[Grant]:
    """Give the keys the tiers of their story, each with the request and the decision behind it.

    `caps` are US dollars a month by key id.
    """
    return [
        _grant(key, one.tier, caps[key.pk], approver_of(made, story, one.tier, key.owner), now=now)
        for story in PROJECTS
        for one, key in zip(story.keys, keys[story.code], strict=True)
        if one.tier > 1
    ]


def approver_of(made: Organisation, story: ProjectStory, tier: int, owner: User) -> User:
    """Return who decides: the lead for Tier 2, the director for more and for what the lead himself asks."""
    _, department, lead, _ = TEAMS[story.team]
    by_lead = tier == LEAD_TIER and made.people[lead] != owner
    return made.people[lead if by_lead else DIRECTORS[department]]


def ask_today(made: Organisation) -> None:
    """Leave two requests waiting, one approved with its key to reveal, one denied, a revoked key, one that is
    suspended, and activity that is planned.
    """
    _leave_waiting(made)
    _let_decide(made)
    _stop_and_plan(made)
    dan = made.people["dan"]
    old = issue_key(actor=dan, project=made.projects["fraud-notes"], name="fraud-notes old laptop")
    revoke(actor=dan, key=old, reason="The laptop was replaced.")


def _stop_and_plan(made: Organisation) -> None:
    people = made.people
    key = issue_key(actor=people["tom"], project=made.projects["ticket-triage"], name="triage notebook")
    reveal(actor=people["tom"], key=key)
    suspend(actor=people["grace"], key=key, reason="The notebook asks the same ticket again and again.")
    tomorrow = (clock.now() + timedelta(days=1)).replace(hour=18, minute=0, second=0, microsecond=0)
    plan_activity(
        actor=people["ben"],
        key=ApiKey.objects.filter(project=made.projects["search-rank"], revoked_at=None).earliest("pk"),
        starts_at=tomorrow,
        ends_at=tomorrow + timedelta(hours=8),
        most_usd_an_hour=Decimal(120),
        reason="The index is embedded anew with the next model.",
    )


def _leave_waiting(made: Organisation) -> None:
    submit(
        actor=made.people["ada"],
        project=made.projects["query-help"],
        tier=Tier.objects.get(number=2),
        model_names=("claude-sonnet-5-5",),
        expected_monthly_usd=Decimal(120),
        duration_days=60,
        reason="The small models rewrite one query in five wrongly. On our 2,000 judged queries a Tier 2"
        " model gets 94% right against 79%.",
    )
    submit(
        actor=made.people["ivo"],
        project=made.projects["catalogue-tags"],
        tier=Tier.objects.get(number=3),
        model_names=("claude-opus-5-5",),
        expected_monthly_usd=Decimal(250),
        duration_days=30,
        reason="Label 3,000 difficult products once with the best model, to train the cheap one on them.",
    )


def _let_decide(made: Organisation) -> None:
    people, tier = made.people, Tier.objects.get(number=2)
    approved = submit(
        actor=people["dan"],
        project=made.projects["fraud-notes"],
        tier=tier,
        model_names=("gpt-6.1-terra",),
        expected_monthly_usd=Decimal(60),
        duration_days=30,
        reason="Long case files do not fit the context of the model that we use now.",
    )
    decide(
        actor=people["eve"],
        request=approved,
        verdict=Verdict.APPROVE,
        seen_revision=approved.revision,
        comment="Start with the ten largest files.",
        monthly_cap_usd=Decimal(50),
    )
    denied = submit(
        actor=people["tom"],
        project=made.projects["ticket-triage"],
        tier=tier,
        expected_monthly_usd=Decimal(30),
        duration_days=90,
        reason="Try whether a larger model sorts better.",
    )
    decide(
        actor=people["grace"],
        request=denied,
        verdict=Verdict.DENY,
        seen_revision=denied.revision,
        comment="Measure it on last month's 500 tickets with your Tier 1 key first, then ask again.",
    )


def _key(made: Organisation, story: ProjectStory, one: KeyStory, now: datetime, *, days: int) -> ApiKey:
    created_at = now - timedelta(days=days)
    token = secrets.new_token()
    pepper_id, digest = secrets.sign(token)
    return ApiKey.objects.create(
        name=one.name,
        project=made.projects[story.code],
        owner=made.people[one.owner],
        secret_hmac=digest,
        pepper_id=pepper_id,
        prefix=token[:SHOWN_CHARACTERS],
        last4=token[-4:],
        created_at=created_at,
        revealed_at=created_at + timedelta(minutes=7),
        expires_at=now + timedelta(days=one.expires_in_days),
    )


def _grant(key: ApiKey, number: int, cap_usd: Decimal, approver: User, *, now: datetime) -> Grant:
    policy = Policy.objects.get(tier=number, retired_at__isnull=True)
    decided_at = key.created_at + timedelta(hours=1)
    if decided_at + timedelta(days=policy.max_days) <= now:  # an older grant is over, and this one follows it
        decided_at = now + RENEWED_FOR - timedelta(days=policy.max_days)
    request = AccessRequest.objects.create(
        requester=key.owner,
        beneficiary=key.owner,
        project=key.project,
        team=key.project.team,
        tier_id=number,
        reason=f"{key.project} goes to our customers and needs the larger models.",
        duration_days=policy.max_days,
        expected_monthly_usd=cap_usd,
        policy=policy,
        created_at=decided_at - timedelta(hours=1),
        revised_at=decided_at - timedelta(hours=1),
        stage_began_at=decided_at - timedelta(hours=1),
        # The database lets nobody decide after this, by its own clock: the past is written with an end to
        # come.
        decide_by=now + timedelta(days=1),
    )
    for index, stage in enumerate(policy.stages):
        Stage.objects.create(
            request=request, revision=1, index=index, role=stage["role"], quorum=1, max_days=policy.max_days
        )
    Decision.objects.create(
        request=request, revision=1, stage_index=0, actor=approver, verdict=Verdict.APPROVE, at=decided_at
    )
    request.status, request.decided_at, request.key = RequestStatus.APPROVED, decided_at, key
    request.save()
    return Grant.objects.create(
        key=key,
        tier_id=number,
        monthly_cap_usd=cap_usd,
        starts_at=decided_at,
        expires_at=decided_at + timedelta(days=policy.max_days),
        source_request=request.public_id,
        granted_by=approver,
        created_at=decided_at,
    )
