"""What a form says of an empty field is ours: what to enter, not that a field is required."""

from __future__ import annotations

from collections.abc import Iterator

from django import forms
from django.urls import get_resolver

from teams.forms import PlainForm

APPS = {"approvals", "budgets", "catalog", "core", "keys", "portal", "teams", "usage"}


def all_forms(base: type[forms.Form] = forms.Form) -> Iterator[type[forms.Form]]:
    for form in base.__subclasses__():
        if form.__module__.partition(".")[0] in APPS:
            yield form
        yield from all_forms(form)


def entered(form: type[forms.Form]) -> dict[str, forms.Field]:
    """Return the fields that somebody fills in: a choice stands on its first one."""
    fields: dict[str, forms.Field] = form.base_fields
    return {
        name: field
        for name, field in fields.items()
        if field.required and not field.widget.is_hidden and not isinstance(field, forms.ChoiceField)
    }


def test_an_empty_field_is_answered_with_what_to_enter() -> None:
    assert get_resolver().url_patterns  # every form is imported by the pages that show it
    usual = str(forms.Field.default_error_messages["required"])
    said = {
        f"{form.__name__}.{name}": str(field.error_messages["required"])
        for form in all_forms()
        if not issubclass(form, PlainForm)  # says it for each of its fields
        for name, field in entered(form).items()
    }

    assert len(said) > 40
    assert [name for name, text in said.items() if text == usual] == []
