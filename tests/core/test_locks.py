"""Whoever waits for a row that is read with others finds it as it is then, whoever it refers to by then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ObjectDoesNotExist
from django.db import transaction

from approvals.models import Delegation
from approvals.services import close_requests_of, end_delegation, review_grant
from core import clock
from core.errors import AlreadyDoneError, InvalidInputError
from core.models import AuditEvent
from keys.models import ApiToken, ServiceAccount
from keys.services import (
    hand_over_service,
    make_token,
    open_service_account,
    report_leak,
    reveal_token,
    revoke_keys_of,
    revoke_token,
)
from portal.services.slack import confirm_slack_link, end_slack_link, start_slack_link
from tests import factories
from tests.api.world import make_run
from tests.cast import Cast, make_cast
from tests.racing import while_it_waits
from usage.models import Discrepancy
from usage.selectors.periods import organisation_today
from usage.services.reconciliation import accept, explain

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.race]

Act = Callable[[], Any]
Pair = tuple[Act, Act]
WHY = "A test."


@pytest.fixture
def people() -> Cast:
    """Make the cast in committed rows, for every session to see."""
    return make_cast()


def hands_over(people: Cast, account: ServiceAccount, who: str) -> Act:
    return lambda: hand_over_service(actor=people.ann, account=account, responsible=getattr(people, who))


def test_statement_that_locks_and_joins_does_not_find_what_is_handed_over(people: Cast) -> None:
    account = open_service_account(actor=people.ann, name="Nightly", responsible=people.ada)
    rows = ServiceAccount.objects.select_related("responsible")

    def naive() -> ServiceAccount:
        with transaction.atomic():
            return rows.select_for_update(no_key=True, of=("self",)).order_by("pk").get(pk=account.pk)

    outcome = while_it_waits(hands_over(people, account, "ben"), naive)
    assert isinstance(outcome, ObjectDoesNotExist)


def test_service_that_two_hand_over_is_the_second_ones(people: Cast) -> None:
    account = open_service_account(actor=people.ann, name="Nightly", responsible=people.ada)

    made = while_it_waits(hands_over(people, account, "ben"), hands_over(people, account, "cleo"))

    assert made.responsible == people.cleo
    told = AuditEvent.objects.filter(action="service_account.handed_over").order_by("pk")
    assert [event.before["responsible"] for event in told] == [people.ada.public_id, people.ben.public_id]


def of_a_token(people: Cast) -> Pair:
    token = make_token(actor=people.ada, name="ci", scopes=["keys:read"])
    return (
        lambda: revoke_token(actor=people.ada, token=token, reason=WHY),
        lambda: revoke_token(actor=people.ada, token=token, reason=WHY),
    )


def of_a_delegation(people: Cast) -> Pair:
    lent = factories.DelegationFactory.create(giver=people.ben, taker=people.cleo, team=people.search)
    return (
        lambda: end_delegation(actor=people.cleo, delegation=lent),
        lambda: end_delegation(actor=people.ben, delegation=lent),
    )


def of_a_difference(people: Cast) -> Pair:
    found = Discrepancy.objects.create(
        run=make_run(organisation_today()),
        kind="token_mismatch",
        external_id="rsv_one",
        opened_at=clock.now(),
    )
    return (
        lambda: explain(actor=people.fay, discrepancy=found, reason=WHY),
        lambda: accept(actor=people.fay, discrepancy=found, reason=WHY),
    )


def of_a_grant(people: Cast) -> Pair:
    grant = factories.approved_grant(factories.ApiKeyFactory.create(project=people.ranking, owner=people.ada))
    return (
        lambda: review_grant(actor=people.ben, grant=grant, keeps=False),
        lambda: review_grant(actor=people.cleo, grant=grant, keeps=True),
    )


def of_a_slack_account(people: Cast) -> Pair:
    code = start_slack_link(actor=people.ben)
    return (
        lambda: confirm_slack_link(code=code, slack_user="U1"),
        lambda: confirm_slack_link(code=code, slack_user="U2"),
    )


@pytest.mark.parametrize(
    ("pair", "refusal", "action"),
    [
        (of_a_token, AlreadyDoneError, "token.revoked"),
        (of_a_delegation, None, "delegation.ended"),
        (of_a_difference, AlreadyDoneError, "discrepancy."),
        (of_a_grant, AlreadyDoneError, "grant."),
        (of_a_slack_account, InvalidInputError, "slack.linked"),
    ],
)
def test_second_of_two_acts_meets_what_the_first_left(
    people: Cast, pair: Callable[[Cast], Pair], refusal: type[Exception] | None, action: str
) -> None:
    acts = pair(people)
    before = AuditEvent.objects.filter(action__startswith=action).count()

    outcome = while_it_waits(*acts)

    assert isinstance(outcome, refusal or Delegation), outcome
    done = AuditEvent.objects.filter(action__startswith=action).count() - before
    assert done == (2 if action == "grant." else 1)  # a grant that is not kept is revoked too


def test_slack_account_that_is_unlinked_while_its_code_comes_stays_unlinked(people: Cast) -> None:
    confirm_slack_link(code=start_slack_link(actor=people.ben), slack_user="U0")
    code = start_slack_link(actor=people.ben, with_second_factor=True)
    outcome = while_it_waits(
        lambda: confirm_slack_link(code=code, slack_user="U1"), lambda: end_slack_link(actor=people.ben)
    )
    assert outcome is None
    people.ben.slack_link.refresh_from_db()
    assert people.ben.slack_link.slack_user == ""


def test_what_a_leaver_has_is_ended_once_though_he_ends_it_himself(people: Cast) -> None:
    token = make_token(actor=people.ada, name="ci", scopes=["keys:read"])
    secret = reveal_token(actor=people.ada, token=token).secret
    lent = factories.DelegationFactory.create(giver=people.ben, taker=people.ada, team=people.search)

    leaked = while_it_waits(
        lambda: revoke_keys_of(actor=people.ann, person=people.ada, reason=WHY),
        lambda: report_leak(secret=secret, place="a public repository"),
    )
    ended = while_it_waits(
        lambda: end_delegation(actor=people.ada, delegation=lent), lambda: close_requests_of(people.ada)
    )

    assert leaked is False
    assert ended["delegations"] == 0
    assert AuditEvent.objects.filter(action="token.revoked").count() == 1
    assert AuditEvent.objects.filter(action="delegation.ended").count() == 1
    assert ApiToken.objects.get().revoked_by == people.ann
