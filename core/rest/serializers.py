"""The bases of every serializer: what comes in is closed, what goes out is listed field by field."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from core.rest.fields import QueryNumber, Text

MAX_CURSOR_CHARACTERS = 100
MAX_PAGE_ROWS, PAGE_ROWS = 200, 50


class In(serializers.Serializer[Any]):
    """A body. A field that is not listed is refused, so that a typo or a hope never passes in silence."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the checked values. Raises ValidationError naming the fields."""
        if not isinstance(data, Mapping):
            raise ValidationError({"body": ["Send a JSON object."]})
        unknown = sorted(data.keys() - self.fields.keys())
        if unknown:
            raise ValidationError({name: ["There is no such field here."] for name in unknown})
        return super().to_internal_value(data)


class ChangeIn(In):
    """A body that says what changes: any field may be left out, which then stays, but not every one."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the checked values. Raises ValidationError for a change of nothing."""
        values = super().to_internal_value(data)
        if not values:
            raise ValidationError({"body": ["Name at least one field."]})
        return values


class NothingIn(In):
    """An act that needs no body; an empty object will do."""


class Query(In):
    """The parameters of an address; an unknown one is refused like an unknown field."""


class PageQuery(Query):
    """The parameters of every list."""

    cursor = Text(
        required=False,
        max_length=MAX_CURSOR_CHARACTERS,
        help_text="Where the page starts: taken from `next` of the page before. Opaque.",
    )
    limit = QueryNumber(
        required=False,
        min_value=1,
        max_value=MAX_PAGE_ROWS,
        default=PAGE_ROWS,
        help_text="How many rows a page has at most.",
    )


class Out(serializers.Serializer[Any]):
    """An answer, listed field by field: a new column of a table never shows by itself."""


class NamedOut(Out):
    """Something that is referred to: its public id and its name."""

    id = serializers.CharField(source="public_id")
    name = serializers.CharField()


class CodedOut(NamedOut):
    """Something with a code: a project, a team or a department."""

    code = serializers.CharField()


class ProblemOut(Out):
    """A problem document (RFC 9457). Other members may follow, such as who can decide."""

    type = serializers.CharField(help_text="`urn:purser:problem:` and the code.")
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField(help_text="Stable: for programs.")
    detail = serializers.CharField(help_text="What happened, what to do, whom to ask: for people.")
    errors = serializers.DictField(  # type: ignore[assignment]  # a declared field, which the metaclass takes away
        child=serializers.ListField(child=serializers.CharField()),
        required=False,
        help_text="Sentences by the name of the field that they are about.",
    )
