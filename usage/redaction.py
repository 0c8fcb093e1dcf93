"""Takes secrets out of what others tell, before it is kept or shown. Pure."""

import re
from typing import Any

from keys.secrets import without_secrets

HIDDEN = "(not shown)"
# Names whose values are secrets whatever they look like. Counts of tokens are not among them.
_SECRET_NAME = re.compile(
    r"authori[sz]ation|api[_-]?key$|secret|passw|cookie|bearer|credential|(?:access|auth|refresh|id)_token$",
    re.IGNORECASE,
)
# The keys of providers and gateways, and whatever follows the name of a scheme.
_SECRET_VALUE = re.compile(
    r"\b(?:sk|pk|rk|gws|ghp|xox[abp])[-_][0-9A-Za-z_-]{16,}|\bAIza[0-9A-Za-z_-]{30,}"
    r"|\b(?:Bearer|Basic)\s+[0-9A-Za-z._~+/=-]{8,}"
)


def redacted(value: Any) -> Any:
    """Return JSON of somebody else without what looks like a secret, in any depth."""
    match value:
        case str():
            return redacted_text(value)
        case dict():
            return {
                redacted_text(str(name)): HIDDEN if _is_secret(str(name), inner) else redacted(inner)
                for name, inner in value.items()
            }
        case list():
            return [redacted(inner) for inner in value]
        case _:
            return value


def redacted_text(text: str) -> str:
    """Return a text of somebody else without what looks like a secret."""
    return _SECRET_VALUE.sub("…", without_secrets(text))


def _is_secret(name: str, value: Any) -> bool:
    return _SECRET_NAME.search(name) is not None and value not in (None, "", False, True)
