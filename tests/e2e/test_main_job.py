"""The main job: ask, approve, reveal, call through the real gateway, run out, raise, revoke. Ends with
`main job: ok`.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from openai import APIStatusError, AuthenticationError, OpenAI, RateLimitError
from playwright.sync_api import Browser

from budgets.models import Balance, Budget, Reservation, ReservationState, ScopeKind
from budgets.selectors import unbalanced_balances
from catalog.models import LlmModel
from catalog.pricing import TokenUsage
from core import clock
from core.models import AuditEvent, Outbox
from core.money import format_usd
from keys.models import ApiKey
from tests.e2e.conftest import PASSWORD, House
from tests.e2e.people import Person
from tests.gateways.servers import eventually
from usage.models import GatewayCall, ImportCursor, UsageEvent
from usage.services import reconcile_day

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.gateway,
    pytest.mark.browser,
    pytest.mark.timeout(300),
]

MODEL = "gpt-4.1"  # Tier 2
CHEAP = "gpt-5-mini"  # Tier 1
FRONTIER = "gpt-6-astra"  # Tier 3
CAP_USD = "0.02"
ALERT_SECONDS = 2.0  # as the house of these tests looks for alerts


@dataclass
class Calls:
    """What the engineer's program does with the key: a stock OpenAI client that does not retry by itself."""

    client: OpenAI
    made: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def plain(self, text: str, *, model: str = MODEL, max_tokens: int | None = 40) -> str:
        """Make one call and return what came back."""
        limit: dict[str, Any] = {} if max_tokens is None else {"max_tokens": max_tokens}
        answer = self.client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": text}], **limit
        )
        self.made["plain"] += 1
        return answer.choices[0].message.content or ""

    def stream(self, text: str, *, model: str = MODEL) -> str:
        """Make one streaming call and return what came back."""
        chunks = self.client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": text}], max_tokens=40, stream=True
        )
        words = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        self.made["stream"] += 1
        return words

    def refusal(self, **changes: Any) -> APIStatusError:
        """Make one call that must be refused and return how."""
        with pytest.raises(APIStatusError) as caught:
            self.plain("this one is refused", **changes)
        error = caught.value
        self.refused[f"{error.status_code} {error.code}"] += 1
        return error


def test_the_main_job(house: House, browser: Browser) -> None:
    cast = house.cast
    ada = Person(browser, cast.ada, base_url=house.portal.url, password=PASSWORD)
    ben = Person(browser, cast.ben, base_url=house.portal.url, password=PASSWORD)

    request_url = ada.ask_for_tier(
        project=cast.ranking.name,
        tier=2,
        model=MODEL,
        reason="The small models miss one answer in three of our test set.",
        expected_usd="50",
    )
    ben.approve(cast.ranking.name, tier=2, cap_usd=CAP_USD)
    token = ada.reveal(request_url)
    key = ApiKey.objects.get(project=cast.ranking, owner=cast.ada)
    calls = Calls(OpenAI(api_key=token, base_url=f"{house.proxy.url}/v1", max_retries=0))

    use_the_key(calls)
    everything_is_settled()
    assert charged() == expected(house) > 0
    spend_is_on_the_page(ada, key)

    near_the_limit_she_is_told_once(calls, ada, key)
    run_out_of_budget(calls, house)
    budget = Budget.objects.get(scope_kind=ScopeKind.KEY, scope_id=key.pk)
    ben.raise_limit(budget.public_id, limit_usd="5", reason="The evaluation needs the rest of the month.")
    raised_at = clock.now()
    assert calls.plain("the same call passes now")
    assert clock.now() - raised_at < timedelta(seconds=5)

    the_portal_may_fail(calls, house)
    the_worker_recounts(house)

    ada.revoke(key.name, reason="The evaluation is over.")
    revoked = calls.refusal()
    assert isinstance(revoked, AuthenticationError)

    everything_is_settled()
    print_table(calls, house)
    ada.close()
    ben.close()
    assert charged() == expected(house)
    assert unbalanced_balances() == []
    assert_told_and_recorded(house)
    print("main job: ok")


def use_the_key(calls: Calls) -> None:
    """Call plain and streaming, with and without a limit, and ask for what the key may not have."""
    for number in range(4):
        assert calls.plain(f"question number {number} about ranking")
        assert calls.stream(f"streamed question number {number} about ranking")
    assert calls.plain("a call without max_tokens", max_tokens=None)
    assert calls.plain("a cheap one", model=CHEAP)
    assert calls.refusal(model=FRONTIER).status_code == 403
    assert calls.refusal(model="no-such-model").status_code in (400, 404)
    stranger = Calls(OpenAI(api_key="psr_live_nobody", base_url=calls.client.base_url, max_retries=0))
    assert stranger.refusal().status_code == 401
    calls.refused += stranger.refused


def spend_is_on_the_page(ada: Person, key: ApiKey) -> None:
    """The page shows the sum of the ledger, formatted once."""
    spent = sum(UsageEvent.objects.filter(key_id=key.pk).values_list("cost_usd", flat=True), start=Decimal(0))
    assert format_usd(spent) in ada.text_of("/keys/")


def near_the_limit_she_is_told_once(calls: Calls, ada: Person, key: ApiKey) -> None:
    """Call until 80 % of the cap is spent: its owner gets one mail of it, and sees it on the page."""
    near_usd = Decimal("0.8") * Decimal(CAP_USD)
    numbers = itertools.count(1)
    while _spent_on(key) < near_usd:
        calls.plain(f"WANT400 come near the limit, number {next(numbers)}", max_tokens=400)
        everything_is_settled()
    told = Outbox.objects.filter(topic="budget.alert", payload__subject__icontains="80% of")
    eventually(lambda: told.filter(delivered_at__isnull=False).exists(), seconds=30, what="the alert of 80 %")
    assert told.get().recipient == ada.user.email
    budget = Budget.objects.get(scope_kind=ScopeKind.KEY, scope_id=key.pk)
    assert "Passed" in ada.text_of(f"/budgets/{budget.public_id}/")
    time.sleep(3 * ALERT_SECONDS)
    assert told.count() == 1


def _spent_on(key: ApiKey) -> Decimal:
    return Balance.objects.get(budget__scope_kind=ScopeKind.KEY, budget__scope_id=key.pk).spent_usd


def run_out_of_budget(calls: Calls, house: House) -> None:
    """Call until the cap is spent: the refusal is a 429 that says when to come back and whom to ask."""
    for number in range(200):
        try:
            calls.plain(f"WANT400 spend it, number {number}", max_tokens=400)
        except RateLimitError as error:
            if error.response.headers["x-should-retry"] == "true":
                everything_is_settled()
                continue
            refused = error
            break
    else:
        pytest.fail("the cap was never reached")
    calls.refused[f"429 {refused.code}"] += 1
    assert refused.code == "budget_exhausted"
    assert int(refused.response.headers["retry-after"]) > 60
    assert house.cast.ben.name in refused.message
    everything_is_settled()
    cap = Balance.objects.get(budget__scope_kind=ScopeKind.KEY)
    assert cap.spent_usd <= Decimal(CAP_USD)


def the_portal_may_fail(calls: Calls, house: House) -> None:
    """Without the portal the gateway refuses, and goes on when the portal is back."""
    house.portal.freeze()
    assert calls.refusal().status_code == 503
    house.portal.thaw()
    eventually(
        lambda: httpx.get(f"{house.portal.url}/readyz", trust_env=False).status_code == 200, what="the portal"
    )
    assert calls.plain("and on it goes")


def the_worker_recounts(house: House) -> None:
    """The Celery worker pulls the gateway's journal; both sides agree call by call."""
    everything_is_settled()
    settled = UsageEvent.objects.count()
    eventually(
        lambda: GatewayCall.objects.filter(released=False).count() >= settled,
        seconds=30,
        what="the pull of every call",
    )
    assert ImportCursor.objects.get().last_error == ""
    run = reconcile_day(source=house.gateway.public_id, day=clock.now().date())
    assert run.drift_usd == 0
    assert run.discrepancies.count() == 0


def everything_is_settled() -> None:
    """Wait until no call is open."""
    open_ones = Reservation.objects.filter(state=ReservationState.OPEN)
    eventually(lambda: not open_ones.exists(), seconds=20, what="every settlement")


def charged() -> Decimal:
    """Return what is booked."""
    return sum(UsageEvent.objects.values_list("cost_usd", flat=True), start=Decimal(0))


def billed(house: House) -> list[dict[str, Any]]:
    """Return what the provider has billed."""
    log: list[dict[str, Any]] = httpx.get(f"{house.provider.url}/_log", trust_env=False).json()
    return [entry for entry in log if entry["status"] == 200]


def expected(house: House) -> Decimal:
    """Return what the provider's own log costs at the catalogue's prices."""
    return sum((_price(entry) for entry in billed(house)), start=Decimal(0))


def _price(entry: dict[str, Any]) -> Decimal:
    model = LlmModel.objects.get(provider_model=entry["model"])
    rates = {
        price.unit: price.usd_per_unit
        for price in model.prices.filter(tier_start=0, valid_until__isnull=True)
    }
    usage = TokenUsage(
        **{
            name: entry[name]
            for name in (
                "input_tokens",
                "cached_tokens",
                "cache_write_tokens",
                "output_tokens",
                "reasoning_tokens",
            )
        }
    )
    fresh = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
    return (
        fresh * rates["input"]
        + usage.cached_tokens * rates.get("cached", rates["input"])
        + usage.cache_write_tokens * rates.get("cache_write", rates["input"])
        + usage.output_tokens * rates["output"]
    )


def print_table(calls: Calls, house: House) -> None:
    """Print what was done and what it came to."""
    came_to, should = charged(), expected(house)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(calls.made.items()))
    print(f"\ncalls made         {sum(calls.made.values())} ({kinds})")
    print(f"served upstream    {len(billed(house))}")
    print(f"charged            ${came_to}")
    print(f"expected           ${should}")
    print(f"charged/expected = {came_to / should:.3f}")
    print(f"open holds         {Reservation.objects.filter(state=ReservationState.OPEN).count()}")
    for code, count in sorted(calls.refused.items()):
        print(f"refused            {count} x {code}")


def assert_told_and_recorded(house: House) -> None:
    """Approver and requester got their mails, and each act of the story is in the audit."""
    eventually(
        lambda: not Outbox.objects.filter(delivered_at__isnull=True).exists(), seconds=30, what="every mail"
    )
    told = set(Outbox.objects.values_list("recipient", flat=True))
    assert {house.cast.ada.email, house.cast.ben.email} <= told
    acts = set(AuditEvent.objects.values_list("action", flat=True))
    for word in ("submitted", "revealed", "revoked", "limit"):
        assert any(word in act for act in acts), (word, acts)
