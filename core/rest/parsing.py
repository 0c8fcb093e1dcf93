"""Reads JSON bodies within limits of size and depth, and refuses what JSON does not know."""

from collections.abc import Mapping
from typing import IO, Any

import orjson
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from core.rest.errors import BodyTooLarge

MAX_BODY_BYTES = 65_536
MAX_DEPTH = 16
INVALID = "invalid_request"


class JsonParser(BaseParser):
    """JSON in UTF-8: no NaN, no lone surrogates, at most 64 KiB and 16 levels deep."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the value. Raises BodyTooLarge or ParseError."""
        body = stream.read(MAX_BODY_BYTES + 1)
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge(f"At most {MAX_BODY_BYTES:,} bytes are read. Send less at once.")
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise ParseError(f"The body is not JSON: {error}.", code=INVALID) from error
        if _is_deeper(value, MAX_DEPTH):
            raise ParseError(f"The body is nested more than {MAX_DEPTH} levels deep.", code=INVALID)
        return value


def _is_deeper(value: object, levels: int) -> bool:
    match value:
        case dict():
            inner = list(value.values())
        case list():
            inner = value
        case _:
            return False
    return levels == 0 or any(_is_deeper(item, levels - 1) for item in inner)
