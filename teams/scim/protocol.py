"""The words of SCIM: schemas, errors, lists."""

from collections.abc import Sequence
from typing import Any

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
CONFIG = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"
RESOURCE_TYPE = "urn:ietf:params:scim:schemas:core:2.0:ResourceType"
SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:Schema"
CONTENT_TYPE = "application/scim+json"
MAX_RESULTS, USUAL_RESULTS = 200, 100

Json = dict[str, Any]


class ScimError(Exception):
    """A refusal in the words of RFC 7644, 3.12."""

    def __init__(self, status: int, detail: str, scim_type: str = "") -> None:
        super().__init__(detail)
        self.status, self.detail, self.scim_type = status, detail, scim_type

    def document(self) -> Json:
        """Return the body; the status is text there."""
        kind = {"scimType": self.scim_type} if self.scim_type else {}
        return {"schemas": [ERROR], "status": str(self.status), "detail": self.detail, **kind}


def invalid(detail: str, scim_type: str = "invalidValue") -> ScimError:
    """Return the refusal of something that cannot be used."""
    return ScimError(400, detail, scim_type)


def list_of(resources: Sequence[Json], *, total: int, start: int) -> Json:
    """Return one page of a list; `start` counts from 1."""
    return {
        "schemas": [LIST],
        "totalResults": total,
        "startIndex": start,
        "itemsPerPage": len(resources),
        "Resources": list(resources),
    }


def page_of(start_index: str, count: str) -> tuple[int, int]:
    """Read where a page starts, from 1, and how long it may be. Raises ScimError."""
    try:
        start, wanted = int(start_index or 1), int(count or USUAL_RESULTS)
    except ValueError:
        raise invalid("startIndex and count are numbers.") from None
    return max(start, 1), min(max(wanted, 0), MAX_RESULTS)


def text(value: Any, name: str, *, longest: int = 254) -> str:
    """Return a text without the space around it. Raises ScimError for anything else."""
    if not isinstance(value, str) or "\0" in value or len(value.strip()) > longest:
        raise invalid(f"{name} must be text of up to {longest} characters.")
    return value.strip()


def truth(value: Any, name: str) -> bool:
    """Return a truth value; Entra ID writes it as the text "True" or "False". Raises ScimError."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    raise invalid(f"{name} must be true or false.")
