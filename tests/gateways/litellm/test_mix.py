"""Three runs in a row of calls that end in every way: charged / expected = 1.000, and nothing stays held."""

from __future__ import annotations

import pytest

from budgets.models import Balance, ScopeKind, Window
from portal import ledger
from tests.gateways.litellm.conftest import Story
from tests.gateways.litellm.mix import HEADINGS, run_mix

pytestmark = [
    pytest.mark.gateway,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(600),
]

BILLED = (
    6  # plain, stream, the retry's second attempt, the fallback, the first of the cache, the one that left
)


@pytest.mark.parametrize(
    ("rounds", "clients"), [(1, 1), pytest.param(25, 5, marks=pytest.mark.full)], ids=["small", "large"]
)
def test_the_mix_is_charged_what_was_billed_three_times_in_a_row(
    story: Story, rounds: int, clients: int
) -> None:
    story.world.budget("key", kind=ScopeKind.KEY, limit="100")
    story.world.budget("team", kind=ScopeKind.TEAM, limit="1000", window=Window.MONTH)
    print(f"\n{HEADINGS}")
    for number in (1, 2, 3):
        run = run_mix(story, number, rounds=rounds, clients=clients)
        print(run)
        assert run.billed == BILLED * rounds
        assert run.charged == run.expected > 0
        assert run.open_holds == 0
        assert set(Balance.objects.values_list("reserved_usd", flat=True)) == {0}
        assert ledger.verify().findings == ()
