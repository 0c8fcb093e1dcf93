"""What forms that change the organisation share: the act, its refusals beside their fields, and the pages."""

from collections.abc import Callable, Sequence
from typing import Any

from django import forms
from django.http import HttpResponse
from django.shortcuts import render

from core.errors import AlreadyDoneError, InvalidInputError
from teams.types import PersonRequest

Act = Callable[[dict[str, Any]], Any]
METHODS = ["GET", "HEAD", "POST"]


def done(form: forms.Form, act: Act) -> Any:
    """Do it when the form is filled in rightly; what it refuses goes to its field. None when not done."""
    if not form.is_bound or not form.is_valid():
        return None
    try:
        return act(form.cleaned_data)
    except (InvalidInputError, AlreadyDoneError) as error:
        form.add_error(error.field if error.field in form.fields else None, error.detail)
        return None


def form_page(
    request: PersonRequest, form: forms.Form, *, title: str, text: str, submit: str, cancel: str
) -> HttpResponse:
    """Show a form, with what it is about; one that was refused answers 422."""
    page = {"title": title, "text": text, "submit_text": submit, "cancel_url": cancel, "url": request.path}
    return render(request, "teams/form.html", {"form": form, "page": page}, status=_status(form))


def confirm_page(
    request: PersonRequest,
    form: forms.Form,
    *,
    title: str,
    text: str = "",
    lines: Sequence[str],
    submit: str,
    back: str,
    obstacles: Sequence[str] = (),
) -> HttpResponse:
    """Show what an act means and ask for the reason; one that was refused answers 422.

    Where there are obstacles the act would be refused, so the page says these and offers nothing to press.
    """
    confirm = {
        "title": title,
        "text": text,
        "obstacles": obstacles,
        "consequences": lines,
        "url": request.path,
        "submit_text": submit,
        "cancel_url": back,
    }
    return render(request, "confirm.html", {"form": form, "confirm": confirm}, status=_status(form))


def _status(form: forms.Form) -> int:
    return 422 if form.is_bound else 200
