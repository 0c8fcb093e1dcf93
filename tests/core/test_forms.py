"""Forms read money as people type it, and tie each error to its field."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django import forms

from core.forms import ReasonField, UsdField
from core.reasons import LONGEST


class Limit(forms.Form):
    """A form as pages have them."""

    amount = UsdField(label="New limit", help_text="US dollars <each> month.", missing="Enter the new limit")
    ceiling = UsdField(required=False)
    reason = ReasonField(missing="Enter why the limit changes")
    told = forms.BooleanField(label="I told the owners", required=False)
    kind = forms.ChoiceField(widget=forms.RadioSelect, choices=[("a", "Base"), ("b", "Top-up")], initial="a")


@pytest.mark.parametrize(
    ("typed", "amount"), [("1,250", "1250"), ("$99.50", "99.5"), (" 0 ", "0"), ("1 000", "1000")]
)
def test_money_is_read_as_people_type_it(typed: str, amount: str) -> None:
    form = Limit({"amount": typed, "reason": "Launch", "kind": "a"})
    assert form.is_valid(), form.errors
    assert form.cleaned_data["amount"] == Decimal(amount)
    assert form.cleaned_data["ceiling"] is None


@pytest.mark.parametrize("typed", ["ten", "-5", "NaN", "1e309", "Infinity"])
def test_what_is_not_money_is_refused_with_an_example(typed: str) -> None:
    form = Limit({"amount": typed, "reason": "Launch", "kind": "a"})
    assert "Enter US dollars such as 1250 or 99.50." in form.errors["amount"][0]
    assert f'value="{typed}"' in str(form["amount"]), "the entry is kept"


def test_too_long_a_reason_is_told_in_the_words_of_the_product() -> None:
    form = Limit({"amount": "1", "reason": "x" * (LONGEST + 2), "kind": "a"})
    assert form.errors["reason"] == [f"Write less: at most {LONGEST} characters, and there are {LONGEST + 2}"]


def test_empty_fields_say_what_to_enter() -> None:
    form = Limit({"kind": "a"})
    assert form.errors == {
        "amount": ["Enter the new limit"],
        "reason": ["Enter why the limit changes"],
    }


def test_error_and_hint_are_tied_to_the_field() -> None:
    page = str(Limit({"kind": "a"}))
    assert 'aria-invalid="true"' in page
    assert 'aria-describedby="id_amount_helptext id_amount_error"' in page
    assert 'id="id_amount_helptext">US dollars &lt;each&gt; month.' in page
    assert 'id="id_amount_error"><li><span class="vh">Error: </span>Enter the new limit' in page


def test_choices_are_grouped_under_their_question() -> None:
    page = str(Limit())
    assert "<fieldset><legend>Kind</legend>" in page
    assert '<label for="id_told">I told the owners' in page
