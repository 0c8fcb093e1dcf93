"""The OpenAPI document: what drf-spectacular cannot know of our fields, parameters and refusals."""

from collections.abc import Callable, Collection
from http import HTTPStatus
from typing import Any, TypeVar

from django.conf import settings
from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
    OpenApiSerializerExtension,
    OpenApiSerializerFieldExtension,
)
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import get_doc
from drf_spectacular.utils import Direction, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.permissions import SAFE_METHODS
from rest_framework.serializers import Serializer

from core.idempotency import HEADER, KEY_PATTERN
from core.problems import CONTENT_TYPE
from core.rest.fields import (
    DATE,
    DATE_TIME,
    TEXT_PATTERN,
    TIME_PATTERN,
    Day,
    Moment,
    PublicId,
    Text,
    TimeOfDay,
    Usd,
    id_pattern,
)
from core.rest.repeats import Repeatable
from core.rest.serializers import ChangeIn, In, ProblemOut, Query

_View = TypeVar("_View", bound=Callable[..., Any])
Json = dict[str, Any]

ALWAYS = (400, 401, 406)
WITH_ID = (404,)
LISTS = (422,)
WRITES = (403, 409, 413, 415, 422)
MEANING = {
    400: "The parameters or the body are not what this document says.",
    401: "Nobody is signed in.",
    403: "The signed-in person may not do this, or the CSRF token is missing.",
    404: "It does not exist, or it is outside the scope of the signed-in person.",
    406: "Only application/json is written.",
    409: "Somebody was first, or it has to be confirmed.",
    410: "Its time has passed.",
    412: "It changed since it was read.",
    413: "The body is too large.",
    415: "Only application/json is read.",
    429: "Too many in a minute from this address; Retry-After says how long to wait.",
    422: "The values do not fit what is there.",
}


REPEATS = OpenApiParameter(
    HEADER,
    type={"type": "string", "pattern": f"^{KEY_PATTERN}$"},
    location=OpenApiParameter.HEADER,
    description="A text of your own, such as a UUID: repeated with the same body, the call has one effect and"
    " one answer for a day. With another body it is refused (422).",
)


def operation(
    *,
    gives: type[Serializer[Any]],
    takes: type[In] | None = None,
    status: int = 200,
    refuses: Collection[int] = (),
    reads: bool = False,
    parameters: Collection[OpenApiParameter | type[Query]] = (),
) -> Callable[[_View], _View]:
    """Document one act: its body, its answer, and the refusals besides those that every act has.

    One that only `reads` needs no CSRF token and has no body.
    """
    usual = ALWAYS if reads else (*ALWAYS, *WRITES)
    return extend_schema(
        request=takes,
        parameters=list(parameters),
        responses={status: gives, **problems({*usual, *refuses})},
    )


def problems(statuses: Collection[int]) -> dict[tuple[int, str], OpenApiResponse]:
    """Return the documentation of refusals."""
    return {
        (status, CONTENT_TYPE): OpenApiResponse(
            ProblemOut, description=MEANING.get(status, HTTPStatus(status).phrase)
        )
        for status in sorted(statuses)
    }


class NounSchema(AutoSchema):
    """What the views say about themselves, as parameters, answers and operation ids."""

    view: Any  # a NounViewSet

    def get_operation_id(self) -> str:
        """Return a stable name: `keys_reveal`."""
        return f"{self.view.basename}_{self.view.action}".replace("-", "_")

    def get_description(self) -> str:  # type: ignore[override]  # as drf-spectacular has it
        """Return what the act says of itself; a list and an object, what their noun says."""
        shared = self.view.action in {"list", "retrieve"}
        return get_doc(self.view.__class__) if shared else super().get_description()

    def get_override_parameters(self) -> list[Any]:
        """Return the parameters that the view checks."""
        parameters: list[Any] = []
        if self.view.action == "list":
            parameters.append(self.view.list_query)
        if self.view.action == "retrieve":
            parameters += self.view.reads_carry
        if self.method not in SAFE_METHODS and isinstance(self.view, Repeatable):
            parameters.append(REPEATS)
        if "{id}" in self.path:
            parameters.append(
                OpenApiParameter(
                    "id",
                    type={"type": "string", "pattern": f"^{self.view.lookup_value_regex}$"},
                    location=OpenApiParameter.PATH,
                )
            )
        return parameters

    def get_response_serializers(self) -> Any:
        """Return what `list` and `retrieve` answer; acts say it themselves by `operation`."""
        statuses = {*ALWAYS, *(LISTS if self.view.action == "list" else WITH_ID)}
        return {200: self.view.out, **problems({*statuses, *self.view.reads_refuse})}

    def _get_request_body(self, direction: Direction = "request") -> Json | None:
        body: Json | None = super()._get_request_body(direction)  # type: ignore[no-untyped-call]
        if body is None:
            return None
        taken = self.get_request_serializer()
        changes = isinstance(taken, type) and issubclass(taken, ChangeIn)
        return {**body, "required": True} if changes else body

    def _get_pagination_parameters(self) -> list[Json]:
        return []  # those of `PageQuery`, which are checked


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # carries no types
    """The cookie of the sign-in, and the token that shows that no other site made the browser write."""

    target_class = "core.rest.authentication.Session"
    name = ["session", "csrf"]

    def get_security_requirement(self, auto_schema: AutoSchema) -> dict[str, list[Any]]:
        """Ask for the token wherever something is written."""
        return {"session": []} if auto_schema.method in SAFE_METHODS else {"session": [], "csrf": []}

    def get_security_definition(self, auto_schema: AutoSchema) -> list[Json]:
        """Describe the cookie and the header."""
        return [
            {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME},
            {
                "type": "apiKey",
                "in": "header",
                "name": "X-CSRFToken",
                "description": "The value of the csrftoken cookie.",
            },
        ]


class ClosedBody(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]  # carries no types
    """Say that unknown fields of a body are refused, and a change of nothing."""

    target_class = In
    match_subclasses = True

    def map_serializer(self, auto_schema: AutoSchema, direction: Direction) -> Json:
        """Describe the body."""
        described = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)  # type: ignore[no-untyped-call]  # noqa: SLF001  as its documentation says
        least = {"minProperties": 1} if isinstance(self.target, ChangeIn) else {}
        return {**described, **least, "additionalProperties": False}


class TextSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]  # carries no types
    """Text without NUL, of limited length."""

    target_class = Text
    match_subclasses = True

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Direction) -> Json:
        """Describe the field."""
        if isinstance(self.target, PublicId):
            return {"type": "string", "pattern": f"^{id_pattern(self.target.prefix)}$"}
        return {"type": "string", "maxLength": self.target.max_length, "pattern": TEXT_PATTERN}


class UsdSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]  # carries no types
    """An amount as a string."""

    target_class = Usd

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Direction) -> Json:
        """Describe the field."""
        written = rf"^-?[0-9]+\.[0-9]{{{self.target.places}}}$"
        pattern = self.target.pattern if direction == "request" else written
        return {"type": "string", "pattern": pattern, "examples": ["1250.000000000000"]}


class MomentSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]  # carries no types
    """A moment."""

    target_class = Moment

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Direction) -> Json:
        """Describe the field."""
        pattern = {"pattern": f"^{DATE_TIME.pattern}$"} if direction == "request" else {}
        return {"type": "string", "format": "date-time", **pattern}


class DaySchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]  # carries no types
    """A day."""

    target_class = Day

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Direction) -> Json:
        """Describe the field."""
        return {"type": "string", "format": "date", "pattern": f"^{DATE.pattern}$"}


class TimeSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]  # carries no types
    """A time of the day."""

    target_class = TimeOfDay

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Direction) -> Json:
        """Describe the field."""
        return {"type": "string", "pattern": f"^{TIME_PATTERN}$"}
