"""A key that is revoked while somebody decides what would be added to it."""

from __future__ import annotations

import pytest

from approvals.errors import AlreadyDecidedError
from approvals.models import AccessRequest, RequestStatus, Verdict
from approvals.services import decide
from keys.errors import KeyEndedError
from keys.models import Grant
from keys.services import issue_key, revoke
from tests.approvals.conftest import ask_for
from tests.cast import make_cast
from tests.racing import at_once, losers, winners

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.race]


@pytest.mark.parametrize("attempt", range(4))
def test_revocation_waits_for_no_decision_and_no_decision_survives_it(attempt: int) -> None:
    people = make_cast()
    key = issue_key(actor=people.ada, project=people.ranking, name="laptop")
    request = ask_for(people, extends_key=key)

    outcomes = at_once(
        lambda: decide(actor=people.ben, request=request, verdict=Verdict.APPROVE, seen_revision=1),
        lambda: revoke(actor=people.ada, key=key, reason="Lost."),
    )

    key.refresh_from_db()
    assert key.revoked_at is not None
    assert all(isinstance(error, KeyEndedError | AlreadyDecidedError) for error in losers(outcomes))
    if len(winners(outcomes)) == 1:
        assert not Grant.objects.exists()
        with pytest.raises(AlreadyDecidedError, match="was revoked"):
            decide(actor=people.ben, request=request, verdict=Verdict.APPROVE, seen_revision=1)
        assert AccessRequest.objects.get().status == RequestStatus.CLOSED
