"""What people enter about differences and months. Rules stand in the services."""

from collections.abc import Iterable
from typing import Any

from django import forms

from core.forms import ReasonField

MOST_CHARACTERS = 240
ACTS = {
    "explain": "Explain: the cause is known, nothing else is needed",
    "accept": "Accept: the organisation bears it",
    "correct": "Correct: the ledger follows the other side",
    "confirm_price": "Confirm the price: the provider charges what is proposed",
}


class ResolveForm(forms.Form):
    """What is done about a difference, and why."""

    act = forms.ChoiceField(
        label="What do you do about it",
        widget=forms.RadioSelect,
        error_messages={"required": "Choose what you do about it"},
    )
    reason = ReasonField(
        label="Why",
        max_length=MOST_CHARACTERS,
        help_text="It stays with the difference, and in the ledger where an entry is made.",
        missing="Enter why",
    )

    def __init__(self, *args: Any, acts: Iterable[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["act"].choices = [(act, ACTS[act]) for act in acts]  # type: ignore[attr-defined]


class AssignForm(forms.Form):
    """Who looks after a difference; nobody when it is left empty."""

    owner = forms.ChoiceField(label="Who looks after it", required=False)

    def __init__(self, *args: Any, people: Iterable[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["owner"].choices = [("", "Nobody"), *people]  # type: ignore[attr-defined]


class ReopenForm(forms.Form):
    """Why a closed month is opened again."""

    reason = ReasonField(
        label="Why", max_length=MOST_CHARACTERS, help_text="It is kept in the audit.", missing="Enter why"
    )
