"""Refusals: what a client is told when its call is not made.

The portal's own bodies are relayed as they are.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:purser:problem:"
RELAYED_HEADERS = ("retry-after", "x-should-retry")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A refused call: an HTTP status, a problem document that also carries an OpenAI `error` object, and
    headers.
    """

    status: int
    document: Mapping[str, object]
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def code(self) -> str:
        """The stable code of the refusal."""
        return str(self.document.get("code", "refused"))

    @property
    def detail(self) -> str:
        """The sentence for people."""
        return str(self.document.get("detail", ""))

    def body(self) -> bytes:
        """The JSON body as it is sent."""
        return json.dumps(self.document).encode()


def refusal(
    *, status: int, code: str, title: str, detail: str, headers: Mapping[str, str] | None = None
) -> Refusal:
    """Build a refusal of the gateway's own."""
    error = {"message": detail, "type": code, "param": None, "code": code}
    document = {
        "type": TYPE_PREFIX + code,
        "title": title,
        "status": status,
        "code": code,
        "detail": detail,
        "error": error,
    }
    return Refusal(status=status, document=document, headers=headers or {})


def relayed(*, status: int, document: Mapping[str, object], headers: Mapping[str, str]) -> Refusal:
    """Build a refusal from the portal's answer.

    Header names are lower case; only those that steer retries are kept.
    """
    return Refusal(
        status=status,
        document=document,
        headers={name: headers[name] for name in RELAYED_HEADERS if name in headers},
    )


UNAVAILABLE = refusal(
    status=503,
    code="decision_unavailable",
    title="No decision",
    detail="Purser did not answer in time, so the call was not made. Try again in a second; "
    "if it lasts, tell whoever runs Purser.",
    headers={"retry-after": "1"},
)

JOURNAL_UNAVAILABLE = refusal(
    status=503,
    code="gateway_journal_unavailable",
    title="The gateway cannot record usage",
    detail="The gateway cannot write its usage journal, so the call was not made. Tell whoever runs the "
    "gateway: its disk is full or read-only.",
    headers={"retry-after": "5"},
)


def invalid_key(public_url: str) -> Refusal:
    """Build the refusal of a key that cannot be one, in the words of the portal: there is one body for every
    key that is not valid.
    """
    return refusal(
        status=401,
        code="invalid_api_key",
        title="Invalid API key",
        detail=f"This key is not valid. See your keys at {public_url}/keys/ or issue a new one there.",
    )


def route_not_allowed(path: str) -> Refusal:
    """Build the refusal of a path that Purser does not meter."""
    return refusal(
        status=403,
        code="route_not_allowed",
        title="Route not allowed",
        detail=f"{path} cannot be called with a Purser key. "
        "Use chat/completions, completions, responses, messages or embeddings.",
    )


def unmetered_caller() -> Refusal:
    """Build the refusal of a model call without a Purser key, such as one with the gateway's master key."""
    return refusal(
        status=403,
        code="route_not_allowed",
        title="Route not allowed",
        detail="Models are called with a Purser key only; the gateway's master key is to administer it.",
    )


def invalid_request(detail: str) -> Refusal:
    """Build the refusal of a body that cannot be bounded."""
    return refusal(status=400, code="invalid_request", title="Invalid request", detail=detail)
