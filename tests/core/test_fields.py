"""Fields of the API: they read what the document lets through."""

from __future__ import annotations

import re
from datetime import UTC

import pytest
from rest_framework.exceptions import ValidationError

from core.rest.fields import Moment
from core.rest.schema import MomentSchema

DOCUMENTED = re.compile(MomentSchema(Moment()).map_serializer_field(None, "request")["pattern"])  # type: ignore[arg-type]  # the schema is not asked


@pytest.mark.parametrize("text", ["1000-01-01T00:00:00+23:59", "2999-12-31T23:59:59.5-23:59"])
def test_moments_at_the_edges_are_read_and_documented(text: str) -> None:
    assert DOCUMENTED.search(text)
    assert Moment().to_internal_value(text).tzinfo == UTC


@pytest.mark.parametrize(
    "text",
    [
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "2026-11-30T12:00:60Z",
        "2026-11-30T12:00:00",
        "2026-11-30",
    ],
)
def test_moments_that_are_not_read_are_not_documented(text: str) -> None:
    assert not DOCUMENTED.search(text)
    with pytest.raises(ValidationError):
        Moment().to_internal_value(text)
