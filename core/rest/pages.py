"""Pages by cursor: stable while rows are added, the same cost on every page."""

from collections.abc import Sequence
from typing import Any

from django.db.models import Model, QuerySet
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from core.errors import InvalidInputError


class CursorPages(BasePagination):
    """A cursor is the public id of the last row that was read, never a number.

    The view gives the checked parameters (`query`), the order (`-pk` is the newest first) and finds a row by
    its public id (`by_id`).
    """

    def paginate_queryset(
        self, queryset: QuerySet[Any] | Sequence[Any], request: Request, view: APIView | None = None
    ) -> list[Any]:
        """Return one page. One query, one more for a page after the first. Raises InvalidInputError."""
        self.request, self.view = request, view
        assert isinstance(queryset, QuerySet)
        viewed: Any = view
        rows, limit = queryset.order_by(viewed.order), viewed.query["limit"]
        if "cursor" in viewed.query:
            after = "pk__lt" if viewed.order.startswith("-") else "pk__gt"
            rows = rows.filter(**{after: self._start(viewed.query["cursor"])})
        found = list(rows[: limit + 1])
        self.last = found[limit - 1] if len(found) > limit else None
        return found[:limit]

    def get_paginated_response(self, data: Any) -> Response:
        """Return the page with the address of the next one."""
        return page_response(self.request, data, self._cursor_of(self.last))

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Describe a page for the OpenAPI document."""
        return {
            "type": "object",
            "required": ["results", "next"],
            "properties": {
                "results": schema,
                "next": {
                    "type": ["string", "null"],
                    "format": "uri",
                    "description": "The next page; null on the last one.",
                },
            },
        }

    def _start(self, cursor: str) -> int:
        view: Any = self.view
        key: int | None = view.by_id(view.get_queryset(), cursor).values_list("pk", flat=True).first()
        if key is None:
            raise unknown_cursor()
        return key

    def _cursor_of(self, row: Model | None) -> str | None:
        view: Any = self.view
        return None if row is None else view.id_of(row)


def page_response(request: Request, results: Any, cursor: str | None) -> Response:
    """Return rows with the address of the page after them, if there is one."""
    here = request.build_absolute_uri()
    return Response(
        {"results": results, "next": replace_query_param(here, "cursor", cursor) if cursor else None}
    )


def unknown_cursor() -> InvalidInputError:
    """Return the refusal of a cursor that is not from this list."""
    return InvalidInputError(
        "This cursor is not from this list, or its row is gone. Start again without one.", field="cursor"
    )
