"""A difference that no price tells the worth of is not worth $0: it says so, and holds up the close."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from catalog.models import Price, PriceSource, Provider
from core import clock
from core.models import Outbox
from tests.browsing import Visitor
from tests.cast import Cast
from tests.gateway.conftest import make_model
from tests.walk.usage import differing, long_past
from usage.models import Discrepancy, DiscrepancyClass, ProviderAccount, ProviderUsage, RunState
from usage.selectors.closing import checklist
from usage.services import accept, add_account, reconcile_due_accounts, reconcile_volumes
from usage.services.reconciliation import due

DAY = clock.now().date() - timedelta(days=20)


@pytest.fixture
def account(cast: Cast) -> ProviderAccount:
    """Return an account whose provider counted 1,000 tokens on a stray key, of a model without a price."""
    make_model("unheard", tier=1)
    made = add_account(actor=cast.ann, provider=Provider.OPENAI, name="org-1")
    ProviderUsage.objects.create(
        account=made, day=DAY, upstream_key="key_stray", model_name="unheard", requests=3, input_tokens=1_000,
        read_at=clock.now() - timedelta(days=1), final=True,
    )  # fmt: skip
    reconcile_volumes(account=made, day=DAY)
    return made


def stray() -> Discrepancy:
    return Discrepancy.objects.get(kind=DiscrepancyClass.BYPASS_UNKNOWN_KEY)


def test_a_bypass_without_a_price_says_so_everywhere(cast: Cast, account: ProviderAccount) -> None:
    assert (stray().amount_usd, stray().unpriced) == (0, ("unheard",))
    visitor = Visitor(cast.fay)
    detail = visitor.get(f"/reconciliation/differences/{stray().public_id}/")
    assert "No price yet for unheard" in detail.words
    listed = visitor.get("/reconciliation/", kind="bypass_unknown_key")
    assert "No price" in listed.words
    assert "1 open difference, 1 without a price" in listed.words
    assert listed.rows("drift-h")[0][4] == "No price"
    csv = visitor.client.get("/reconciliation/", {"format": "csv", "kind": "bypass_unknown_key"})
    assert ",unheard,,Open," in b"".join(csv).decode()
    mail = Outbox.objects.filter(topic="reconciliation.bypass").first()
    assert mail is not None
    assert "what has no price yet (unheard: enter one)" in mail.payload["body"]
    assert "$0.00" not in mail.payload["body"]


def test_sums_name_what_is_not_in_them(cast: Cast, account: ProviderAccount) -> None:
    run = stray().run
    Discrepancy.objects.create(
        run=run,
        kind=DiscrepancyClass.BYPASS_UNKNOWN_KEY,
        external_id="key_other",
        amount_usd=Decimal("-2.5"),
        opened_at=clock.now(),
    )
    page = Visitor(cast.fay).get("/reconciliation/")
    assert "2 open differences, $2.50 without signs, 1 without a price" in page.words
    assert page.rows("drift-h")[0][4] == "$2.50 1 without a price"


def test_it_is_compared_again_at_night_until_there_is_a_price(
    cast: Cast, account: ProviderAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model("other", tier=1)
    Price.objects.create(
        model_id=model.pk - 1, unit="input", usd_per_unit=Decimal("0.01"), source=PriceSource.MANUAL,
        valid_from=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    assert stray().unpriced
    monkeypatch.setattr(due, "NIGHTLY", clock.now().time())

    assert f"2 {account.public_id} {DAY}" in reconcile_due_accounts()

    assert (stray().amount_usd, stray().unpriced) == (10, ())


def test_it_holds_up_the_close_until_it_is_accepted(cast: Cast) -> None:
    one = differing(cast, kind="bypass_unknown_key", amount_usd=0)
    one.detail["unpriced"] = ["unheard"]
    one.save()
    one.run.day = long_past()
    one.run.state = RunState.DIFFERENT
    one.run.save()

    def check() -> tuple[bool, str]:
        found = next(each for each in checklist(long_past()) if each.title == "Nothing large is open")
        return found.holds, found.detail

    assert check() == (
        False, "What open differences are worth is not known: no price for unheard. Enter one.",
    )  # fmt: skip
    accept(actor=cast.fay, discrepancy=one, reason="A test of the provider's.")
    assert check()[0]
