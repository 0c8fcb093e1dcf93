"""The base of every noun of the API: scoped reads, checked parameters, checked bodies."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from django.db.models import Model, QuerySet
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response

from core.errors import InvalidInputError, NotFoundError
from core.rest.pages import CursorPages
from core.rest.repeats import Repeatable
from core.rest.serializers import In, Out, PageQuery, Query

_Row = TypeVar("_Row", bound=Model)


class ListViewSet(Repeatable):
    """A list of pages of what the person may see.

    A subclass gives `get_queryset()`, scoped to the person, and `out`. What is outside does not exist.
    """

    noun: ClassVar[str]
    out: ClassVar[type[Out]]
    list_query: ClassVar[type[Query]] = PageQuery
    order: ClassVar[str] = "-pk"
    reads_refuse: ClassVar[tuple[int, ...]] = ()
    reads_carry: ClassVar[tuple[OpenApiParameter, ...]] = ()

    http_method_names = ["get", "head", "post"]
    lookup_url_kwarg = "id"
    lookup_field = "public_id"
    pagination_class = CursorPages
    query: dict[str, Any]

    @property
    def actor(self) -> Any:
        """Return the person who asks; the permission let nobody else through."""
        return self.request.user

    def chosen(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Narrow the list down to what the parameters ask for."""
        return rows

    def narrowed(self, rows: QuerySet[_Row], **lookups: str) -> QuerySet[_Row]:
        """Narrow rows down by the parameters that were given: a lookup for each name."""
        given = {lookup: self.query[name] for name, lookup in lookups.items() if name in self.query}
        return rows.filter(**given)

    def presented(self, rows: Sequence[Any]) -> Sequence[Any]:
        """Return what a selector makes of the rows of a page, in their order."""
        return rows

    def about(self, rows: Sequence[Any]) -> dict[str, Any]:
        """Return what the serializer needs besides the rows, read once for all of them."""
        return {}

    def list(self, request: Request) -> Response:
        """Return a page."""
        page = self.paginate_queryset(self.chosen(self.get_queryset())) or []
        return self.get_paginated_response(self.shown(page))

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Let the person in, then check the parameters of the address."""
        super().initial(request, *args, **kwargs)
        if not self.action:
            return  # a method that is refused next
        checked = self.query_class()(data=request.query_params.dict())
        checked.is_valid(raise_exception=True)
        self.query = checked.validated_data

    def query_class(self) -> type[Query]:
        """Return what the address may say."""
        return self.list_query if self.action == "list" else Query

    def by_id(self, rows: QuerySet[_Row], public_id: str) -> QuerySet[_Row]:
        """Narrow rows down to the one with this public id."""
        return rows.filter(public_id=public_id)

    def id_of(self, row: Any) -> str:
        """Return the public id of a row."""
        return str(row.public_id)

    def found(self, public_id: str) -> Any:
        """Return one object in scope. Raises NotFoundError, the same for one that is outside."""
        row = self.by_id(self.get_queryset(), public_id).first()
        if row is None:
            raise NotFoundError(f"There is no such {self.noun}, or it is not one that you may see.")
        return row

    def body(self, serializer: type[In]) -> dict[str, Any]:
        """Return the checked body. Raises ValidationError naming the fields."""
        checked = serializer(data=self.request.data)
        checked.is_valid(raise_exception=True)
        values: dict[str, Any] = checked.validated_data
        return values

    def shown(self, rows: Sequence[Any]) -> Any:
        """Return rows as they go out."""
        ready = self.presented(rows)
        return self.out(ready, many=True, context=self.about(ready)).data

    def answer(self, row: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        """Return one row as it goes out."""
        return Response(self.shown([row])[0], status=status, headers=headers)

    def created(self, row: Any) -> Response:
        """Return a new row with its address."""
        here = self.request.build_absolute_uri(f"{self.request.path}{self.id_of(row)}/")
        return self.answer(row, status=201, headers={"Location": here})


class NounViewSet(ListViewSet):
    """One noun: a list, and an object by its public id, whose pattern a subclass gives."""

    def retrieve(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Return one object."""
        return self.answer(self.found(id))


def referred(rows: QuerySet[_Row], *, field: str, noun: str, **lookup: Any) -> _Row:
    """Return what a field refers to. Raises InvalidInputError, the same for what is out of scope."""
    row = rows.filter(**lookup).first()
    if row is None:
        raise InvalidInputError(f"There is no such {noun}, or it is not one that you may see.", field=field)
    return row
