"""Forms that add departments, teams, projects and members."""

from collections.abc import Iterable, Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.text import slugify

from core.forms import ReasonField
from teams.models import Department, Project, User, code_validator
from teams.selectors import TeamPerson
from teams.services.naming import MAX_COST_CENTRE_CHARACTERS, MAX_NAME_CHARACTERS

MAX_CODE_CHARACTERS = Project.code.field.max_length
PLAIN = {"autocomplete": "off"}


class PlaceForm(forms.Form):
    """A name, and a code that is made from it where none is entered."""

    name = forms.CharField(
        label="Name",
        max_length=MAX_NAME_CHARACTERS,
        widget=forms.TextInput(attrs=PLAIN),
        error_messages={"required": "Enter a name"},
    )
    code = forms.CharField(
        label="Code",
        required=False,
        max_length=MAX_CODE_CHARACTERS,
        validators=[code_validator],
        help_text="Small letters, digits and hyphens; it stays. Left empty, it is made from the name.",
        widget=forms.TextInput(attrs={**PLAIN, "class": "short", "spellcheck": "false"}),
    )

    def clean(self) -> dict[str, Any]:
        """Make the code from the name where it was left empty."""
        entered: dict[str, Any] = super().clean() or self.cleaned_data
        if entered.get("name") and entered.get("code") == "":
            entered["code"] = slugify(entered["name"])[:MAX_CODE_CHARACTERS].strip("-_")
            try:
                code_validator(entered["code"])
            except ValidationError:
                self.add_error("code", "Enter a code: none can be made from this name")
        return entered


class TeamForm(PlaceForm):
    """A team of a department."""

    department = forms.ChoiceField(
        label="Department",
        error_messages={"required": "Choose a department", "invalid_choice": "Choose a department"},
    )
    field_order = ("department", "name", "code")

    def __init__(self, *args: Any, departments: Iterable[Department], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [(one.public_id, one.name) for one in departments]
        fields: dict[str, Any] = self.fields
        fields["department"].choices = [("", "Choose a department"), *choices]


class OwnedForm(forms.Form):
    """Who owns a project, of those who may."""

    owner = forms.ChoiceField(
        label="Owner",
        help_text="Who answers for it in reports.",
        error_messages={"required": "Choose an owner", "invalid_choice": "Choose an owner"},
    )

    def __init__(self, *args: Any, people: Sequence[TeamPerson], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = dict.fromkeys((person.public_id, person.name) for person in people)
        fields: dict[str, Any] = self.fields
        fields["owner"].choices = [("", "Choose a person"), *choices]


class ProjectForm(PlaceForm, OwnedForm):
    """A project of a team."""

    cost_centre = forms.CharField(
        label="Cost centre",
        max_length=MAX_COST_CENTRE_CHARACTERS,
        help_text="As finance calls it, such as CC-4711.",
        widget=forms.TextInput(attrs={**PLAIN, "class": "short"}),
        error_messages={"required": "Enter a cost centre"},
    )
    field_order = ("name", "code", "owner", "cost_centre")


class OwnerForm(OwnedForm):
    """Who owns a project from now on, and why."""

    reason = ReasonField(label="Why", help_text="Kept in the audit.", missing="Enter why the owner changes")
    field_order = ("owner", "reason")


class AddressInput(forms.EmailInput):
    """An address, typed or chosen from those of people that are offered."""

    template_name = "components/address_input.html"

    def __init__(self, people: Iterable[User]) -> None:
        super().__init__(attrs={**PLAIN, "list": "addresses"})
        self.people = people

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        """Add the people on offer."""
        return {**super().get_context(name, value, attrs), "people": self.people}


class MemberForm(forms.Form):
    """Who is to work in a team."""

    person = forms.EmailField(
        label="Person",
        help_text="The address with which this person signs in. Those whom you may know of are offered.",
        error_messages={
            "required": "Choose a person, or enter an address",
            "invalid": "Enter an address such as ada@example.com",
        },
    )

    def __init__(self, *args: Any, people: Iterable[User], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["person"].widget = AddressInput(people)
