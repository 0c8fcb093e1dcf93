"""Providers' bills: listed, uploaded, and line by line."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from core import addresses
from core.errors import AlreadyDoneError, InvalidInputError
from core.sorting import Head, Table
from core.spreadsheets import csv_response
from teams.types import PersonRequest
from usage import services
from usage.forms.sources import InvoiceForm
from usage.invoices import COLUMNS
from usage.selectors.accounts import account_choices, find_invoice, invoice_page, lines_of, versions_of
from usage.services.cursors import require_bookkeeper
from usage.views.access import keeps_the_books, require_books, tabs

PAGE_ROWS = 50
KEPT = ("sort",)
TABLE = Table(
    usual="-period",
    heads=(
        Head(label="Number", sort="number"),
        Head(label="Account", sort="account"),
        Head(label="Period", sort="period", falls=True),
        Head(label="State"),
        Head(label="Total", sort="total", numeric=True),
        Head(label="Uploaded", sort="uploaded", falls=True),
    ),
)
FIELDS = {"period_end": "last_day", "period_start": "first_day", "total_usd": "total"}


@require_safe
def list_invoices(request: PersonRequest) -> HttpResponse:
    """List the bills by `?sort=`, the latest period first."""
    require_books(request)
    number = addresses.page_number(request)
    found = invoice_page(number * PAGE_ROWS, PAGE_ROWS + 1, TABLE.order(request))
    context = {
        "rows": found[:PAGE_ROWS],
        "columns": TABLE.columns(request, KEPT),
        "may_upload": keeps_the_books(request),
        "newer_url": addresses.link(request, KEPT, page=str(number - 1)) if number else "",
        "older_url": addresses.link(request, KEPT, page=str(number + 1)) if len(found) > PAGE_ROWS else "",
        "tabs": tabs("invoices:list"),
    }
    return render(request, "usage/invoices.html", {"invoices": context})


@require_safe
def show_invoice(request: PersonRequest, public_id: str) -> HttpResponse:
    """Show a bill with its lines and its other versions; as CSV on demand."""
    require_books(request)
    invoice = find_invoice(public_id)
    lines = lines_of(invoice)
    if request.GET.get("format") == "csv":
        rows = ((line.description, line.model_name, line.quantity, line.amount_usd) for line in lines)
        return csv_response(f"invoice-{public_id}", COLUMNS, rows)
    context = {
        "bill": invoice,
        "lines": lines,
        "versions": versions_of(invoice),
        "csv_url": addresses.link(request, (), format="csv"),
    }
    return render(request, "usage/invoice.html", {"invoice": context})


@require_http_methods(["GET", "HEAD", "POST"])
def upload(request: PersonRequest) -> HttpResponse:
    """Ask for a bill; on POST keep it."""
    require_books(request)
    if not keeps_the_books(request):
        require_bookkeeper(request.user, "upload invoices")
    accounts = account_choices()
    names = {public_id: str(account) for public_id, account in accounts.items()}
    form = InvoiceForm(request.POST or None, request.FILES or None, accounts=names)
    if request.method == "POST" and form.is_valid():
        start, end = form.period()
        try:
            invoice = services.upload_invoice(
                actor=request.user,
                account=accounts[form.cleaned_data["account"]],
                number=form.cleaned_data["number"],
                period_start=start,
                period_end=end,
                currency=form.cleaned_data["currency"],
                total_usd=form.cleaned_data["total"],
                lines=form.cleaned_data["document"],
            )
        except (InvalidInputError, AlreadyDoneError) as error:
            field = FIELDS.get(error.field or "", error.field)
            form.add_error(field if field in form.fields else None, error.detail)
        else:
            messages.success(request, f"The bill {invoice.number} is kept.")
            return redirect("invoices:detail", invoice.public_id)
    context = {"form": form, "accounts": names}
    return render(request, "usage/invoice_upload.html", context, status=422 if form.errors else 200)
