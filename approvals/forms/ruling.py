"""What an administrator enters to change the rules of a tier."""

from typing import Any

from django import forms

from approvals.rules import LABELS, MONEY_FIELDS, Rules
from core.forms import ReasonField, UsdField
from teams.models import Role

MOST_STAGES = 3
DECIDES = [(role.value, role.label) for role in (Role.LEAD, Role.DIRECTOR, Role.FINANCE, Role.ADMIN)]
NUMBERS = (
    "default_days",
    "max_days",
    "decide_within_hours",
    "sla_hours",
    "min_reason_characters",
    "auto_spend_percent",
    "auto_human_days",
    "break_glass_hours",
)
SWITCHES = ("told_may_veto", "needs_ticket", "auto_extend")
EMPTY_MONEY = {
    "max_monthly_usd": "Empty is no limit.",
    "break_glass_cap_usd": "Empty where nobody may break the glass.",
    "together_cap_usd": "Empty where each request is decided by itself.",
}
SHORT = {"inputmode": "numeric", "autocomplete": "off", "class": "short"}
HIGHEST = 32_767  # what the columns hold; the rules allow far less


class RulesForm(forms.Form):
    """The rules of one tier: stages in order, then one field for each rule."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for number in range(1, MOST_STAGES + 1):
            first = number == 1
            self.fields[f"stage_{number}"] = forms.ChoiceField(
                label=f"Stage {number}" if first else f"Stage {number} (optional)",
                choices=[("", "Nobody"), *DECIDES],
                required=first,
                error_messages={"required": "Choose who approves first"},
            )
            self.fields[f"quorum_{number}"] = _number(f"How many of them at stage {number}", required=first)
        for name, label in LABELS.items():
            if name != "stages":
                self.fields[name] = _field(name, label)
        self.fields["reason"] = ReasonField(
            label="Why do the rules change?", missing="Enter why the rules change"
        )

    def rules(self) -> Rules:
        """Return the rules that were entered; the form is valid."""
        values = dict(self.cleaned_data)
        stages = tuple(
            (values[f"stage_{number}"], values[f"quorum_{number}"] or 1)
            for number in range(1, MOST_STAGES + 1)
            if values[f"stage_{number}"]
        )
        return Rules(stages=stages, **{name: values[name] for name in LABELS if name != "stages"})


class RetireForm(forms.Form):
    """Why nobody may ask for a tier any more."""

    reason = ReasonField(label="Why?", missing="Enter why nobody may ask for it any more")


def initial_of(rules: Rules) -> dict[str, Any]:
    """Return what the form shows of rules."""
    shown = {name: getattr(rules, name) for name in LABELS if name != "stages"}
    for name in MONEY_FIELDS:
        usd = getattr(rules, name)
        shown[name] = "" if usd is None else f"{usd.normalize():f}"
    for number, (role, quorum) in enumerate(rules.stages, start=1):
        shown |= {f"stage_{number}": role, f"quorum_{number}": quorum}
    return shown


def _field(name: str, label: str) -> forms.Field:
    if name in NUMBERS:
        return _number(label)
    if name in SWITCHES:
        return forms.BooleanField(label=label, required=False)
    if name.endswith("_usd"):
        return UsdField(label=label, required=False, help_text=EMPTY_MONEY[name])
    return forms.ChoiceField(label=label, choices=[("", "Nobody"), *DECIDES], required=False)


def _number(label: str, *, required: bool = True) -> forms.IntegerField:
    message = "Enter a whole number"
    return forms.IntegerField(
        label=label,
        required=required,
        min_value=0,
        max_value=HIGHEST,
        widget=forms.TextInput(attrs=SHORT),
        error_messages=dict.fromkeys(("required", "invalid", "min_value", "max_value"), message),
    )
