"""What the portal answers over HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer of the portal.

    Header names are lower case; `document` is empty when the body was not a JSON object.
    """

    status: int
    headers: Mapping[str, str]
    document: Mapping[str, object]
