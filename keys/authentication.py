"""Programs at the management API: a token in place of a session, and what it may be used for."""

from typing import Any

from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from core import audit
from keys.models import ApiToken
from keys.scopes import scope_of
from keys.services.tokens import live_token
from teams.models import User

SCHEME = b"bearer"


class Bearer(BaseAuthentication):
    """`Authorization: Bearer psr_api_...`: whoever sends it acts as the token's owner, within its scopes.

    No cookie comes along, so no other site can make a browser send it, and no CSRF token is asked for.
    """

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        """Return the owner and the token. Raises AuthenticationFailed, the same for every bad one."""
        scheme, _, secret = get_authorization_header(request).partition(b" ")
        if scheme.lower() != SCHEME:
            return None
        token = live_token(secret.strip().decode("latin-1"))
        if token is None:
            raise AuthenticationFailed(
                "This API token is unknown, expired or revoked. Make one under Keys, API tokens.",
                code="invalid_token",
            )
        audit.name_token(token.public_id)
        return token.owner, token

    def authenticate_header(self, request: Request) -> str:
        """Name both schemes, so that a missing sign-in is a 401 and not a 403."""
        return 'Session realm="purser", Bearer realm="purser"'


class SignedInWithinScope(BasePermission):
    """Somebody is signed in; a token is good for this operation."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Say whether the call goes on. Raises PermissionDenied naming the scope that a token lacks."""
        if not request.user.is_authenticated:
            return False
        if not isinstance(request.auth, ApiToken) or not view.action:
            return True
        scope = scope_of(view.basename, view.action, request.method or "")
        if scope is None:
            raise PermissionDenied(
                "No API token may do this: it takes a person who is signed in.", code="person_needed"
            )
        if scope not in request.auth.scopes:
            raise PermissionDenied(
                f"This API token lacks the scope {scope}. Make one that has it.", code="scope_missing"
            )
        return True
