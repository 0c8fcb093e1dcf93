"""Bills: read line by line, kept in versions, and only when their lines sum to the total."""

from __future__ import annotations

import json
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from core import clock
from core.models import AuditEvent
from tests.api.world import Caller
from tests.browsing import Page, Visitor
from tests.cast import Cast
from tests.factories import ProviderAccountFactory
from usage.invoices import InvoiceDocumentError, Line, read_amount, read_document
from usage.models import Invoice, ProviderAccount

CSV = b'description,model,quantity,amount\nUsage,gpt-5-mini,1000,"1,250.50"\nCredit,,,-0.000000000001\n'
TOTAL = "1250.499999999999"


@pytest.fixture
def account(db: None) -> ProviderAccount:
    found: ProviderAccount = ProviderAccountFactory.create(name="org-northwind")
    return found


def send(who: Any, of: ProviderAccount, content: bytes = CSV, **entered: Any) -> Page:
    form = {
        "account": of.public_id,
        "number": "INV-7",
        "first_day": "2026-10-01",
        "last_day": "2026-10-31",
        "currency": "USD",
        "total": TOTAL,
        "document": SimpleUploadedFile("lines.csv", content),
    }
    return Visitor(who).post("/invoices/upload/", **(form | entered))


def test_csv_and_json_give_the_same_lines() -> None:
    rows = [
        {"description": "Usage", "model": "gpt-5-mini", "quantity": 1000, "amount": 1250.5},
        {"description": "Credit", "amount": "-0.000000000001"},
    ]
    expected = (
        Line(
            description="Usage", model_name="gpt-5-mini", quantity=Decimal(1000), amount_usd=Decimal("1250.5")
        ),
        Line(description="Credit", model_name="", quantity=None, amount_usd=Decimal("-0.000000000001")),
    )
    assert read_document(CSV) == expected
    assert read_document(b"\xef\xbb\xbf" + CSV.replace(b"\n", b"\r\n")) == expected
    assert read_document(json.dumps(rows).encode()) == expected
    assert read_document(json.dumps({"currency": "usd", "lines": rows}).encode()) == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "names columns"),
        (b"\xff\xfe", "not UTF-8 text (byte 1)"),
        (b"what,amount\n", "names columns"),
        (b"description,amount\n", "no lines"),
        (b"description,amount\nUsage,1\nUsage,many\n", "Line 3: 'many' is no amount"),
        (b"description,amount\n,1\n", "Line 2: description must have 1 to 240 characters."),
        (b"description,amount\na,b,c\n", "Line 2: it has 3 cells, and the head 2."),
        (b"description,amount\na,NaN\n", "Line 2: 'NaN' is no amount"),
        (b"description,amount\na,1e5\n", "Line 2: '1e5' is no amount"),
        (b"description,amount\na,0.0000000000001\n", "more than twelve decimals"),
        (b"description,amount\na,9999999999999999\n", "too large"),
        (b"description,quantity,amount\na,lots,1\n", "Line 2: 'lots' is no quantity."),
        (b'description,amount\n"a,1\n', "this is not CSV"),
        (b"[{]", "not JSON at line 1"),
        (b'{"lines": 3}', "no list of lines"),
        (b"[3]", "Line 1: it is not an object."),
        (b'[{"description": "a", "amount": NaN}]', "not JSON"),
        (b'[{"description": "a", "amount": true}]', "Line 1: 'True' is no amount"),
        (b'[{"description": 4, "amount": 1}]', "Line 1: description must be text."),
        (b'[{"description": "a", "amount": 1, "tax": 2}]', "Line 1: 'tax' is not known."),
        (b'{"currency": "EUR", "lines": [{"description": "a", "amount": 1}]}', "The bill is in EUR"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_what_is_wrong_with_a_document_is_said_by_line(content: bytes, said: str) -> None:
    with pytest.raises(InvoiceDocumentError) as refused:
        read_document(content)
    assert said in str(refused.value)


def test_every_line_at_fault_is_named_up_to_a_point() -> None:
    rows = b"description,amount\n" + b"a,x\n" * 30
    with pytest.raises(InvoiceDocumentError) as refused:
        read_document(rows)
    assert len(refused.value.problems) == 21
    assert refused.value.problems[-1] == "10 more lines cannot be read."


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1", "1"),
        ("$1,234.56", "1234.56"),
        ("-$3.50", "-3.5"),
        ("$-3.50", "-3.5"),
        (".5", "0.5"),
        (" 7 ", "7"),
    ],
)
def test_amounts_as_bills_write_them(text: str, amount: str) -> None:
    assert read_amount(text) == Decimal(amount)


@pytest.mark.parametrize(
    "text", ["", "-", "$", "1.2.3", "1,2", "1,2345", "--1", "-$-1", "1 000", "=1+1", "٣"]
)
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(ValueError, match="is no amount"):
        read_amount(text)


def test_finance_uploads_a_bill_and_sees_its_lines(cast: Cast, account: ProviderAccount) -> None:
    page = send(cast.fay, account)
    invoice = Invoice.objects.get()
    assert page.response["Location"] == f"/invoices/{invoice.public_id}/"
    assert (invoice.period_start, invoice.period_end) == (date(2026, 10, 1), date(2026, 11, 1))
    assert (invoice.total_usd, invoice.uploaded_by) == (Decimal(TOTAL), cast.fay)
    shown = Visitor(cast.audrey).get(f"/invoices/{invoice.public_id}/")
    assert shown.rows("lines-h") == [
        ["Usage", "gpt-5-mini", "1,000", "$1,250.50"],
        ["Credit", "—", "—", "-$0.000000000001"],
    ]
    assert AuditEvent.objects.get(action="invoice.uploaded").after["lines"] == 2


def test_another_upload_of_the_number_supersedes_and_the_very_bill_is_refused(
    cast: Cast, account: ProviderAccount
) -> None:
    send(cast.fay, account)
    again = send(cast.fay, account)
    assert again.status == 422
    assert "This very bill is there since" in again.words
    send(cast.fay, account, b"description,amount\nUsage,10\n", total="10")
    old, new = Invoice.objects.order_by("pk")
    assert (old.superseded_at is None, new.superseded_at) == (False, None)
    assert "the bill was uploaded again" in Visitor(cast.fay).get(f"/invoices/{old.public_id}/").words
    assert f"/invoices/{old.public_id}/" in Visitor(cast.fay).get(f"/invoices/{new.public_id}/").links
    rows = Visitor(cast.fay).get("/invoices/").rows("invoices-h")
    assert [row[3] for row in rows] == ["Current", "Superseded"]


def test_lines_that_do_not_sum_are_refused_with_what_is_missing(cast: Cast, account: ProviderAccount) -> None:
    page = send(cast.fay, account, total="1250.50")
    assert page.status == 422
    assert "sum to $1,250.499999999999, and the total is $1,250.50: $0.000000000001 is missing." in page.words
    assert 'value="INV-7"' in page.response.content.decode()
    assert not Invoice.objects.exists()


@pytest.mark.parametrize(
    ("entered", "said"),
    [
        ({"currency": "EUR"}, "The bill is in EUR, and Purser keeps US dollars."),
        ({"last_day": "2026-09-30"}, "The last day must not be before the first"),
        ({"total": "much"}, "'much' is no amount"),
        ({"number": "   "}, "Enter the number of the bill"),
        ({"account": "pac_of_nobody"}, "Select a valid choice"),
        (
            {"document": SimpleUploadedFile("x.csv", b"description,amount\na,b\n")},
            "Line 2: 'b' is no amount.",
        ),
        ({"document": ""}, "Choose the file with the lines of the bill"),
    ],
)
def test_what_cannot_be_kept_is_said(
    cast: Cast, account: ProviderAccount, entered: dict[str, Any], said: str
) -> None:
    page = send(cast.fay, account, **entered)
    assert (page.status, said in page.words) == (422, True), page.words
    assert not Invoice.objects.exists()


def test_a_large_file_is_refused_and_only_its_start_is_kept(cast: Cast, account: ProviderAccount) -> None:
    page = send(cast.fay, account, b"description,amount\n" + b"a,1\n" * 2_000_000)
    assert page.status == 422
    assert "The file is larger than 1 MiB." in page.words


def test_formula_cells_stay_text_on_the_page_and_in_the_file(cast: Cast, account: ProviderAccount) -> None:
    evil = b'description,amount\n"=HYPERLINK(""http://x"")",1\n<script>alert(1)</script>,1\n@SUM(A1),1\n'
    send(cast.fay, account, evil, total="3")
    invoice = Invoice.objects.get()
    page = Visitor(cast.fay).get(f"/invoices/{invoice.public_id}/")
    assert "<script>alert(1)" not in page.response.content.decode()
    assert page.rows("lines-h")[1][0] == "<script>alert(1)</script>"
    file = Visitor(cast.fay).get(f"/invoices/{invoice.public_id}/", format="csv")
    text = file.response.content.decode()
    assert "'=HYPERLINK" in text
    assert "'@SUM(A1)" in text


def test_the_api_keeps_a_bill_by_the_same_rules(cast: Cast, account: ProviderAccount) -> None:
    body: dict[str, Any] = {
        "account": account.public_id,
        "number": "INV-8",
        "first_day": "2026-10-01",
        "last_day": "2026-10-31",
        "total": "12.5",
        "lines": [
            {"description": "Usage", "quantity": "3", "amount": "15"},
            {"description": "x", "amount": "-2.5"},
        ],
    }
    answer = Caller(cast.fay).post("invoices/", body)
    assert answer.status_code == 201
    assert [line["amount_usd"] for line in answer.json()["lines"]] == ["15.000000000000", "-2.500000000000"]
    assert answer.json()["last_day"] == "2026-10-31"
    refused: dict[str, tuple[dict[str, Any], str]] = {
        "currency": ({"currency": "EUR"}, "The bill is in EUR"),
        "total_usd": ({"total": "12"}, "is missing"),
        "lines": ({"lines": [{"description": "a", "amount": "x"}]}, "Line 1: 'x' is no amount"),
    }
    for field, (changes, said) in refused.items():
        problem = Caller(cast.fay).post("invoices/", body | {"number": "INV-9"} | changes)
        assert (problem.status_code, said in problem.json()["detail"]) == (422, True), field
    assert Caller(cast.fay).post("invoices/", body).status_code == 409
    assert Invoice.objects.count() == 1


@pytest.mark.parametrize(
    ("sort", "numbers"),
    [
        ("", ["C", "B", "A"]),
        ("number", ["A", "B", "C"]),
        ("-number", ["C", "B", "A"]),
        ("total", ["B", "A", "C"]),
        ("-total", ["C", "A", "B"]),
        ("period", ["A", "B", "C"]),
        ("account", ["C", "A", "B"]),
        ("-account", ["B", "C", "A"]),
        ("uploaded", ["B", "C", "A"]),
        ("-uploaded", ["A", "C", "B"]),
        ("nonsense", ["C", "B", "A"]),
    ],
)
def test_bills_are_sorted_by_their_address(
    cast: Cast, account: ProviderAccount, sort: str, numbers: list[str]
) -> None:
    other = ProviderAccountFactory.create(name="org-southwind")
    for month, (number, usd, hours_ago, of) in enumerate(
        (("A", 2, 1, account), ("B", 1, 3, other), ("C", 3, 2, account)), 1
    ):
        Invoice.objects.create(
            account=of, number=number, period_start=date(2026, month, 1),
            period_end=date(2026, month + 1, 1), total_usd=usd, document_hash=number,
            uploaded_at=clock.now() - timedelta(hours=hours_ago),
        )  # fmt: skip
    page = Visitor(cast.fay).get("/invoices/", **({"sort": sort} if sort else {}))
    assert [row[0] for row in page.rows("invoices-h")] == numbers
