"""A page with one form and what one should know before sending it."""

from dataclasses import dataclass

from django import forms
from django.http import HttpResponse
from django.shortcuts import render

from core.errors import DomainError
from teams.types import PersonRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class FormPage:
    """What stands around a form; `facts` are lines of a label and a text, `cannot` stands in its place."""

    title: str
    url: str
    submit_text: str
    cancel_url: str
    text: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    cannot: str = ""


def form_page(
    request: PersonRequest,
    page: FormPage,
    form: forms.Form,
    *,
    refusal: DomainError | None = None,
) -> HttpResponse:
    """Return the page; 422 with the entries kept when something is wrong with them, or as a refusal says."""
    status = refusal.status if refusal else 422 if form.errors else 200
    context = {"page": page, "form": form, "refusal": refusal}
    return render(request, "approvals/form.html", context, status=status)


def add_error(form: forms.Form, error: DomainError) -> None:
    """Say what a service refused, beside its field where the form has it."""
    form.add_error(error.field if error.field in form.fields else None, error.detail)
