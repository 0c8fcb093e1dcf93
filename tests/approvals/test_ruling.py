"""The rules of a tier: two administrators change them, and what was decided keeps the old ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from approvals.models import AccessRequest, Policy, PolicyProposal, RequestStatus, Verdict
from approvals.rules import Rules
from approvals.services import confirm_policy, decide, drop_policy, expire_due, propose_policy
from approvals.whatif import what_if
from core import clock
from core.errors import AlreadyDoneError, InvalidInputError, NotAllowedError, StaleError
from core.models import Outbox
from teams.errors import RoleNeededError
from teams.models import Role, User
from tests import factories
from tests.approvals.by_hand import execute, refused_by
from tests.approvals.conftest import Ask
from tests.browsing import Visitor
from tests.cast import Cast

LIST = "/approvals/policies/"
TWO_STAGES: dict[str, Any] = {"stages": (("lead", 1), ("director", 1)), "escalation_role": "admin"}


@pytest.fixture
def second(cast: Cast) -> User:
    """Return an administrator beside Ann."""
    return factories.RoleAssignmentFactory.create(role=Role.ADMIN).user


def in_force(tier: int = 2) -> Policy:
    return Policy.objects.get(tier=tier, retired_at__isnull=True)


def proposed(cast: Cast, **changes: Any) -> PolicyProposal:
    rules = replace(Rules.of(in_force()), **changes or {"max_days": 60, "default_days": 30})
    return propose_policy(actor=cast.ann, base=in_force(), rules=rules, reason="Shorter access.")


@pytest.mark.django_db
def test_a_new_installation_asks_the_lead_for_tier_2_and_the_director_for_tier_3() -> None:
    found = Policy.objects.filter(retired_at__isnull=True).order_by("tier")
    terms = [
        (each.tier_id, each.stages, each.default_days, each.max_days, each.told_role, each.auto_extend)
        for each in found
    ]
    assert terms == [
        (2, [{"role": "lead", "quorum": 1}], 90, 90, "", False),
        (3, [{"role": "director", "quorum": 1}], 30, 30, "lead", False),
    ]
    assert {each.decide_within_hours for each in found} == {7 * 24}


def test_a_change_is_in_force_when_a_second_administrator_confirms_it(cast: Cast, second: User) -> None:
    before = in_force()
    proposal = proposed(cast)
    assert in_force() == before, "nothing changes before"
    assert Outbox.objects.get(topic="policy.proposed").recipient == second.email
    confirm_policy(actor=second, proposal=proposal)
    after = in_force()
    assert (after.version, after.max_days) == (before.version + 1, 60)
    assert (after.created_by, after.confirmed_by) == (cast.ann, second)


def test_nobody_confirms_his_own_proposal(cast: Cast) -> None:
    proposal = proposed(cast)
    with pytest.raises(NotAllowedError, match="another administrator confirms"):
        confirm_policy(actor=cast.ann, proposal=proposal)
    with refused_by("policy_proposal_is_confirmed_by_somebody_else"):
        execute(
            "UPDATE approvals_policyproposal SET status = 'confirmed', ended_at = now(), ended_by_id = %s",
            [cast.ann.pk],
        )
    with refused_by("policy_is_confirmed_by_somebody_else"):
        factories.new_policy(cast.tier2, [("lead", 1)], created_by=cast.ann, confirmed_by=cast.ann)
    with refused_by("policy_is_confirmed_by_somebody_else"):
        factories.new_policy(cast.tier2, [("lead", 1)], created_by=cast.ann)


@pytest.mark.parametrize("who", ["ada", "ben", "cleo", "fay", "audrey"])
def test_only_administrators_change_the_rules(cast: Cast, second: User, who: str) -> None:
    person = getattr(cast, who)
    with pytest.raises(RoleNeededError):
        propose_policy(actor=person, base=in_force(), rules=None, reason="No more.")
    with pytest.raises(RoleNeededError):
        confirm_policy(actor=person, proposal=proposed(cast))


def test_one_change_of_a_tier_waits_at_a_time_and_ends_once(cast: Cast, second: User) -> None:
    proposal = proposed(cast)
    with pytest.raises(AlreadyDoneError, match="waits already"):
        proposed(cast)
    drop_policy(actor=second, proposal=proposal)
    with pytest.raises(AlreadyDoneError, match="dropped it already"):
        confirm_policy(actor=second, proposal=proposal)
    with refused_by("policy_proposal_is_final"):
        execute("UPDATE approvals_policyproposal SET reason = 'Another.'")
    proposed(cast)


def test_a_proposal_of_rules_that_are_not_in_force_any_more_is_stale(cast: Cast, second: User) -> None:
    base = in_force()
    confirm_policy(actor=second, proposal=proposed(cast))
    with pytest.raises(StaleError, match="changed meanwhile"):
        propose_policy(actor=cast.ann, base=base, rules=None, reason="No more.")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"stages": ()}, "stages"),
        ({"stages": (("lead", 1), ("lead", 2))}, "stages"),
        ({"stages": (("lead", 0),)}, "stages"),
        ({"stages": (("lead", 1), ("director", 1)), "escalation_role": "director"}, "escalation_role"),
        ({"max_days": 0}, "max_days"),
        ({"default_days": 91}, "default_days"),
        ({"decide_within_hours": 1}, "decide_within_hours"),
        ({"sla_hours": 169}, "sla_hours"),
        ({"told_may_veto": True}, "told_may_veto"),
        ({"auto_spend_percent": 0}, "auto_spend_percent"),
        ({"break_glass_hours": 5, "break_glass_cap_usd": Decimal(1)}, "break_glass_hours"),
        ({"break_glass_hours": 4, "break_glass_cap_usd": None}, "break_glass_cap_usd"),
        ({"min_reason_characters": 0}, "min_reason_characters"),
        ({"max_monthly_usd": Decimal(0)}, "max_monthly_usd"),
    ],
)
def test_rules_that_cannot_be_are_refused_with_their_field(
    cast: Cast, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        proposed(cast, **changes)
    assert refusal.value.field == field


def test_the_rule_is_never_proposed_for_tier_3(cast: Cast) -> None:
    rules = replace(Rules.of(in_force(3)), auto_extend=True)
    with pytest.raises(InvalidInputError, match="Tier 2 alone"):
        propose_policy(actor=cast.ann, base=in_force(3), rules=rules, reason="Faster.")


# ------------------------------------------------------------------ what it does to requests


def test_stricter_rules_start_pending_requests_again(cast: Cast, ask: Ask, second: User) -> None:
    waits, other = ask(), ask(tier=cast.tier3, model_names=[], duration_days=30)
    confirm_policy(actor=second, proposal=proposed(cast, **TWO_STAGES))
    waits.refresh_from_db()
    other.refresh_from_db()
    assert (waits.revision, waits.policy, other.revision) == (2, in_force(), 1)
    roles = waits.stages.filter(revision=2).values_list("role", flat=True)
    assert list(roles) == ["lead", "director"]


def test_milder_rules_leave_pending_requests_as_they_are(
    cast: Cast, asked: AccessRequest, second: User
) -> None:
    confirm_policy(actor=second, proposal=proposed(cast, max_days=120, min_reason_characters=5))
    asked.refresh_from_db()
    assert (asked.revision, asked.policy.version) == (1, 1)


def test_decided_requests_keep_the_rules_that_they_were_decided_under(
    cast: Cast, asked: AccessRequest, second: User
) -> None:
    decide(actor=cast.ben, request=asked, verdict=Verdict.APPROVE, seen_revision=1)
    before = AccessRequest.objects.filter(pk=asked.pk).values().get()
    confirm_policy(actor=second, proposal=proposed(cast, stages=(("director", 2),)))
    assert AccessRequest.objects.filter(pk=asked.pk).values().get() == before


def test_retiring_the_rules_closes_what_waits_and_nobody_asks_again(
    cast: Cast, ask: Ask, second: User
) -> None:
    waits = ask()
    proposal = propose_policy(actor=cast.ann, base=in_force(), rules=None, reason="No more.")
    confirm_policy(actor=second, proposal=proposal)
    waits.refresh_from_db()
    assert (waits.status, waits.closed_reason) == (
        RequestStatus.CLOSED,
        "Nobody may ask for Tier 2 any more.",
    )
    with pytest.raises(InvalidInputError, match="no policy yet"):
        ask()


@pytest.mark.parametrize("retires", [False, True])
def test_a_request_under_rules_of_long_ago_follows_too(
    cast: Cast, asked: AccessRequest, second: User, retires: bool
) -> None:
    """Milder rules left it as it was; stricter ones after those, or none at all, are about it too."""
    confirm_policy(actor=second, proposal=proposed(cast, max_days=120))
    rules = None if retires else replace(Rules.of(in_force()), **TWO_STAGES)
    last = propose_policy(actor=cast.ann, base=in_force(), rules=rules, reason="Stricter.")
    confirm_policy(actor=second, proposal=last)
    asked.refresh_from_db()
    if retires:
        assert asked.status == RequestStatus.CLOSED
    else:
        assert (asked.revision, asked.policy) == (2, in_force())


@pytest.mark.parametrize("retires", [False, True])
def test_what_is_past_its_time_comes_to_life_by_no_rules(cast: Cast, second: User, retires: bool) -> None:
    """Nobody has written down yet that it expired, and everybody reads that it did."""
    late = factories.AccessRequestFactory.create(
        requester=cast.ada, project=cast.ranking, created_at=clock.now() - timedelta(days=8)
    )
    rules = None if retires else replace(Rules.of(in_force()), **TWO_STAGES)
    confirm_policy(
        actor=second,
        proposal=propose_policy(actor=cast.ann, base=in_force(), rules=rules, reason="Stricter."),
    )
    late.refresh_from_db()
    assert (late.state, late.revision) == (RequestStatus.EXPIRED, 1)
    expire_due()
    late.refresh_from_db()
    assert late.status == RequestStatus.EXPIRED


# ------------------------------------------------------------- what it would have done


def test_other_rules_are_set_against_the_requests_of_90_days(cast: Cast, ask: Ask) -> None:
    long_one = ask()
    decide(actor=cast.ben, request=long_one, verdict=Verdict.APPROVE, seen_revision=1)
    short_one = ask(model_names=["larger"], duration_days=9, expected_monthly_usd=Decimal(5))
    decide(actor=cast.ben, request=short_one, verdict=Verdict.APPROVE, seen_revision=1)
    ask(actor=cast.dan, project=cast.fraud, duration_days=9, expected_monthly_usd=Decimal(5))
    factories.AccessRequestFactory.create(
        requester=cast.eve, project=cast.fraud, created_at=clock.now() - timedelta(days=91)
    )
    rules = Rules.of(in_force())
    assert (what_if(rules, 2).requests, what_if(rules, 2).same) == (3, 3)
    shorter = what_if(replace(rules, max_days=30, default_days=30), 2)
    assert (shorter.refused, shorter.same) == (1, 2)
    assert shorter.effects[0].text == "Refused when it was asked: 60 days are more than 30."
    wider = what_if(replace(rules, **TWO_STAGES), 2)
    assert (wider.later, wider.same) == (2, 1)
    assert what_if(replace(rules, stages=(("lead", 2),)), 2).impossible == 3
    assert what_if(replace(rules, needs_ticket=True), 2).refused == 3


def test_what_if_costs_the_same_for_many_requests_and_writes_nothing(
    cast: Cast, asked: AccessRequest, django_assert_num_queries: Any
) -> None:
    for _ in range(5):
        factories.AccessRequestFactory.create(project=cast.ranking)
    rules = Rules.of(in_force())
    with django_assert_num_queries(3):
        what_if(rules, 2)


# -------------------------------------------------------------------------------- the pages


def entered(**changes: object) -> dict[str, object]:
    """Return what the form of Tier 2 sends as it stands."""
    form: dict[str, object] = {
        "stage_1": "lead", "quorum_1": 1, "stage_2": "", "quorum_2": "", "stage_3": "", "quorum_3": "",
        "default_days": 90, "max_days": 90, "max_monthly_usd": "", "decide_within_hours": 168,
        "sla_hours": 48, "escalation_role": "director", "told_role": "", "min_reason_characters": 10,
        "auto_spend_percent": 80, "auto_human_days": 90, "break_glass_hours": 0, "break_glass_cap_usd": "",
        "reason": "Shorter access.",
    }  # fmt: skip
    return {**form, **changes}


def test_an_administrator_sees_what_it_would_have_done_before_he_proposes(
    cast: Cast, asked: AccessRequest, second: User
) -> None:
    ann, address = Visitor(cast.ann), f"{LIST}{in_force().public_id}/edit/"
    assert address in ann.get(LIST).links
    changes = {"max_days": 30, "default_days": 30, "break_glass_hours": in_force().break_glass_hours}
    changes["break_glass_cap_usd"] = in_force().break_glass_cap_usd or ""  # type: ignore[assignment]
    seen = ann.post(address, **entered(**changes))
    assert seen.status == 200
    assert "Of 1 request, 0 would have gone as they did, 1 would have been refused when asked" in seen.words
    assert not PolicyProposal.objects.exists()
    assert ann.post(address, **entered(**changes), propose="1").status == 302
    proposal = PolicyProposal.objects.get()
    page = f"{LIST}proposals/{proposal.public_id}/"
    own = ann.get(page).words
    assert "Confirm the change" not in own
    assert "another administrator confirms it" in own
    other = Visitor(second)
    assert "1 would have been refused when asked" in other.get(page).words
    assert in_force().version == 1, "opening a page confirms nothing"
    assert other.post(page, confirm="1").status == 302
    assert in_force().max_days == 30
    assert other.post(page, confirm="1").status == 409


def test_what_is_wrong_with_rules_is_said_beside_it(cast: Cast) -> None:
    page = Visitor(cast.ann).post(f"{LIST}{in_force().public_id}/edit/", **entered(default_days=91))
    assert page.status == 422
    assert "no more than the most days" in page.words


def test_everybody_reads_the_rules_and_their_versions(cast: Cast, second: User) -> None:
    confirm_policy(actor=second, proposal=proposed(cast))
    words = Visitor(cast.ada).get(LIST).words
    assert "Version 2" in words
    assert "Shorter access." in words
    assert "Earlier versions" in words
    assert "/edit/" not in "".join(Visitor(cast.ada).get(LIST).links)


def test_a_tier_is_retired_on_its_page(cast: Cast, asked: AccessRequest) -> None:
    ann, policy = Visitor(cast.ann), factories.policy_of(cast.tier2)
    page = f"/approvals/policies/{policy.public_id}/retire/"
    assert page in ann.get("/approvals/policies/").links
    assert "Waiting now: 1." in ann.get(page).words
    assert ann.post(page, reason="").status == 422
    assert ann.post(page, reason="We stop with Tier 2.").status == 302
    proposal = PolicyProposal.objects.get()
    assert proposal.rules is None
    assert "closed" in ann.get(f"/approvals/policies/proposals/{proposal.public_id}/").words
    asked.refresh_from_db()
    assert asked.status == RequestStatus.PENDING


def test_rules_that_mean_nothing_now_are_not_shown(cast: Cast) -> None:
    factories.new_policy(cast.tier2, [("lead", 1)])
    assert "The rule extends while spend" not in Visitor(cast.ann).get(LIST).words

    factories.new_policy(cast.tier2, [("lead", 1)], auto_extend=True)
    assert "The rule extends while spend" in Visitor(cast.ann).get(LIST).words
