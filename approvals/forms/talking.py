"""What is entered to say something about a request."""

from collections.abc import Iterable
from typing import Any

from django import forms

from catalog.models import Tier
from core.forms import ReasonField


class CommentForm(forms.Form):
    """A question or an answer; whoever may decide can offer a lower tier with it."""

    text = ReasonField(label="What do you want to say?", missing="Enter what you want to say")
    offered_tier = forms.ChoiceField(
        label="Offer a lower tier instead (optional)",
        help_text="The requester can take it: that closes the request, and opens one for that tier.",
        required=False,
        error_messages={"invalid_choice": "Choose a tier from the list"},
    )

    def __init__(self, *args: Any, tiers: Iterable[Tier], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [(str(tier.number), f"{tier}, {tier.name}") for tier in tiers]
        if choices:
            self.fields["offered_tier"].choices = [("", "Offer nothing"), *choices]  # type: ignore[attr-defined]  # a ChoiceField
        else:
            del self.fields["offered_tier"]
