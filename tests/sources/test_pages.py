"""The pages of sources, accounts and keys: what is not read is red, and who may change what."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from budgets.models import Lease
from core import clock
from core.models import AuditEvent
from gateway.models import GatewayLog
from tests.browsing import Visitor
from tests.cast import Cast
from tests.factories import (
    GatewayFactory,
    InvoiceFactory,
    ProviderAccountFactory,
    UpstreamCredentialFactory,
)
from usage.models import ImportCursor, ProviderAccount, SourceKind, UpstreamCredential
from usage.services.reports import source_name

REFERENCE = "env:PURSER_ADMIN_KEY_TEST"


def reported(account: ProviderAccount, **fields: Any) -> ImportCursor:
    return ImportCursor.objects.create(
        source=source_name(account, SourceKind.USAGE), kind=SourceKind.USAGE, **fields
    )


@pytest.mark.parametrize(
    ("reference", "fields", "state", "said"),
    [
        ("", {}, "No credential", "No admin credential is entered, so nothing is known"),
        (REFERENCE, {}, "Not read yet", ""),
        (REFERENCE, {"last_error": "OpenAI refused the key."}, "Not readable", "refused the key"),
        (REFERENCE, {"last_success_at": timedelta(hours=4)}, "Late", "Is the worker running?"),
        (REFERENCE, {"last_success_at": timedelta(hours=2)}, "Read", ""),
    ],
)
def test_a_source_says_how_it_stands(
    cast: Cast, reference: str, fields: dict[str, Any], state: str, said: str
) -> None:
    account = ProviderAccountFactory.create(name="org-northwind", admin_credential=reference)
    moments = {name: clock.now() - value for name, value in fields.items() if isinstance(value, timedelta)}
    reported(account, rows_read=1_234, **(fields | moments))

    page = Visitor(cast.fay).get("/sources/")

    [row] = page.rows("providers-h")
    assert row[0] == "OpenAI org-northwind Provider usage"
    assert (row[1].startswith(state), said in row[1], row[4]) == (True, True, "1,234")
    assert ("cannot be read. Until then nothing" in page.words) == (
        state in {"No credential", "Not readable"}
    )


def test_a_gateway_that_was_lost_says_what_its_last_calls_may_have_used(cast: Cast) -> None:
    lost, back = GatewayFactory.create(name="lost"), GatewayFactory.create(name="back")
    ended = clock.now() - timedelta(days=2)
    for gateway, usd, closed in ((lost, "0.50", ended), (lost, "0.25", ended), (back, "3", ended)):
        unheard_lease(cast, gateway.public_id, usd, closed)
    unheard_lease(cast, lost.public_id, "7", clock.now() - timedelta(days=31))
    for gateway, read_at in ((lost, ended - timedelta(hours=2)), (back, clock.now())):
        ImportCursor.objects.create(source=gateway.public_id, last_success_at=read_at)

    rows = {row[0]: row[1] for row in Visitor(cast.fay).get("/sources/").rows("gateways-h")}

    said = "2 leases of the last 30 days ended without a word from it."
    assert said in rows["lost Gateway journal"]
    assert "used at most $0.75 of what they held" in rows["lost Gateway journal"]
    assert "In doubt" not in rows["back Gateway journal"]


def unheard_lease(cast: Cast, source: str, usd: str, closed_at: datetime) -> None:
    """Write a lease that ended an hour before it was reclaimed, with money that nobody gave back."""
    amounts = {"granted_usd": Decimal(1) + Decimal(usd), "held_usd": Decimal(0)}
    Lease.objects.create(
        source=source, node="one", key_id=1, owner=cast.ada, project=cast.ranking, team=cast.search,
        department=cast.product, model=cast.small, tier_id=1, budget_ids=[], window_starts=[], **amounts,
        returned_usd=Decimal(usd), unheard_usd=Decimal(usd), opened_at=closed_at - timedelta(hours=2),
        expires_at=closed_at - timedelta(hours=1), reclaim_at=closed_at, closed_at=closed_at,
    )  # fmt: skip


def test_a_gateway_is_listed_by_its_log_and_one_without_a_record_by_itself(cast: Cast) -> None:
    GatewayFactory.create(name="exporter")
    edge = GatewayFactory.create(name="edge")
    log = GatewayLog.objects.create(gateway=edge, kind="nginx", place="/var/log/x")
    ImportCursor.objects.create(source=log.public_id, kind=SourceKind.LOG, gateway=edge.public_id)
    ImportCursor.objects.update(last_success_at=clock.now())

    rows = Visitor(cast.audrey).get("/sources/").rows("gateways-h")

    assert [row[0] for row in rows] == ["exporter Gateway", "nginx access log of edge Gateway log"]
    assert rows[0][1].startswith("No other side It keeps no journal or log that Purser reads")
    assert rows[1][1] == "Read"


def test_read_now_is_a_button_of_finance_and_has_the_source_asked_at_once(cast: Cast) -> None:
    account = ProviderAccountFactory.create(admin_credential=REFERENCE)
    cursor = reported(account, next_attempt_at=clock.now() + timedelta(hours=3), last_error="down")
    address = f"/sources/{cursor.source}/read/"

    assert "Read now" in Visitor(cast.fay).get("/sources/").words
    assert "Read now" not in Visitor(cast.audrey).get("/sources/").words
    assert Visitor(cast.audrey).post(address).status == 403
    assert Visitor(cast.ben).post(address).status == 403
    assert Visitor(cast.fay).post(address).response["Location"] == "/sources/"

    cursor.refresh_from_db()
    assert cursor.next_attempt_at is None
    assert Visitor(cast.fay).post("/sources/gw_none/read/").status == 404


def test_an_administrator_adds_an_account_and_its_sources_are_there(cast: Cast) -> None:
    form = {"provider": "anthropic", "name": "org-1", "admin_credential": REFERENCE, "base_url": ""}
    answer = Visitor(cast.ann).post("/providers/add/", **form)

    account = ProviderAccount.objects.get()
    assert answer.response["Location"] == f"/providers/{account.public_id}/"
    assert len(Visitor(cast.ann).get("/sources/").rows("providers-h")) == 2
    again = Visitor(cast.ann).post("/providers/add/", **form)
    assert (again.status, "is there already" in again.words) == (422, True)


@pytest.mark.parametrize(
    ("entered", "said"),
    [
        ({"admin_credential": "env:DATABASE_URL"}, "Only variables that begin with PURSER_ADMIN_KEY_ may"),
        ({"admin_credential": "file:/etc/passwd"}, "Only files below /run/secrets/purser may be named."),
        ({"admin_credential": "sk-admin-1234"}, "A reference begins with env: or file:."),
        ({"base_url": "http://127.0.0.1:9000"}, "127.0.0.1 is not on the public internet."),
        ({"base_url": "https://169.254.169.254/latest"}, "is not on the public internet."),
        ({"base_url": "https://8.8.8.8/?x=1"}, "An address ends before ? and #."),
        ({"name": " "}, "Enter the id that the provider calls the organisation by"),
    ],
)
def test_an_account_that_cannot_be_is_refused(cast: Cast, entered: dict[str, str], said: str) -> None:
    form = {"provider": "openai", "name": "org-1", "admin_credential": "", "base_url": ""}
    page = Visitor(cast.ann).post("/providers/add/", **(form | entered))

    assert (page.status, said in page.words) == (422, True), page.words
    assert not ProviderAccount.objects.exists()


def test_another_credential_has_the_account_read_at_once(cast: Cast) -> None:
    account = ProviderAccountFactory.create()
    cursor = reported(account, next_attempt_at=clock.now() + timedelta(hours=3), last_error="down")

    Visitor(cast.ann).post(f"/providers/{account.public_id}/credential/", admin_credential=REFERENCE)

    account.refresh_from_db()
    cursor.refresh_from_db()
    assert (account.admin_credential, cursor.next_attempt_at) == (REFERENCE, None)
    event = AuditEvent.objects.get(action="provider_account.credential_changed")
    assert (event.before, event.after) == ({"refers_to": ""}, {"refers_to": REFERENCE})


def test_a_key_is_registered_by_its_id_retired_and_taken_up_again(cast: Cast) -> None:
    account = ProviderAccountFactory.create()
    edge = GatewayFactory.create(name="edge")
    address = f"/providers/{account.public_id}/"
    form = {"external_id": "key_abc", "label": "Production", "held_by": edge.public_id}
    ann = Visitor(cast.ann)

    ann.post(f"{address}keys/add/", **form)
    assert ann.get(address).rows("keys-h")[0][:3] == ["Production key_abc", "edge", "Registered"]
    assert ann.post(f"{address}keys/add/", **form).status == 422

    key = UpstreamCredential.objects.get()
    retire = f"{address}keys/{key.public_id}/retire/"
    assert "is reported as a bypass" in ann.get(retire).words
    assert ann.post(retire, reason="").status == 422
    ann.post(retire, reason="It was rotated.")
    assert ann.get(address).rows("keys-h")[0][2] == "Retired"
    assert ann.post(retire, reason="Again.").status == 422

    ann.post(f"{address}keys/add/", **form | {"label": "Back"})
    assert [row[0] for row in ann.get(address).rows("keys-h")] == ["Back key_abc"]


def test_the_key_itself_is_refused_and_kept_nowhere(cast: Cast) -> None:
    account = ProviderAccountFactory.create()
    page = Visitor(cast.ann).post(
        f"/providers/{account.public_id}/keys/add/", external_id="sk-proj-secret", label="x", held_by=""
    )

    assert (page.status, "This looks like the key itself" in page.words) == (422, True)
    assert not AuditEvent.objects.exists()


def test_a_closed_account_is_read_no_more_and_takes_no_keys(cast: Cast) -> None:
    account = ProviderAccountFactory.create(admin_credential=REFERENCE)
    reported(account)
    address = f"/providers/{account.public_id}/"

    Visitor(cast.ann).post(f"{address}close/", reason="We left.")

    assert Visitor(cast.fay).get("/sources/").rows("providers-h") == []
    page = Visitor(cast.ann).post(f"{address}keys/add/", external_id="key_x", label="x", held_by="")
    assert (page.status, "This account is closed." in page.words) == (422, True)


def test_pages_ask_as_often_for_fifty_as_for_five(cast: Cast) -> None:
    first = ProviderAccountFactory.create(admin_credential=REFERENCE)
    bill = InvoiceFactory.create(account=first)
    addresses = (
        "/sources/",
        "/providers/",
        f"/providers/{first.public_id}/",
        "/invoices/",
        f"/invoices/{bill.public_id}/",
    )

    def grow(number: int, start: int) -> None:
        for count in range(start, start + number):
            account = ProviderAccountFactory.create(admin_credential=REFERENCE)
            reported(account)
            edge = GatewayFactory.create(name=f"gateway {count}")
            ImportCursor.objects.create(source=edge.public_id)
            UpstreamCredentialFactory.create(account=first, registered_by=cast.ann, held_by=edge.public_id)
            InvoiceFactory.create(account=account, uploaded_by=cast.fay)
            bill.lines.create(description="More", amount_usd=1)

    grow(5, 0)
    visitor = Visitor(cast.ann)
    few = [len(visitor.queries(address)) for address in addresses]
    grow(40, 5)
    many = [len(visitor.queries(address)) for address in addresses]

    assert few == many
    assert max(many) <= 8, many


def test_the_page_of_bills_goes_on(cast: Cast) -> None:
    for _ in range(51):
        InvoiceFactory.create()

    page = Visitor(cast.fay).get("/invoices/")

    assert len(page.rows("invoices-h")) == 50
    assert len(Visitor(cast.fay).get("/invoices/?page=1").rows("invoices-h")) == 1
    assert "No older bills" in Visitor(cast.fay).get("/invoices/?page=2").words
