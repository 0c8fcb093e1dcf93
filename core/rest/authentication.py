"""Who calls the management API: the person of the session cookie."""

from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request


class Session(SessionAuthentication):
    """The portal's own sign-in, with its CSRF token in `X-CSRFToken` for everything that is not a read."""

    def enforce_csrf(self, request: Request) -> None:
        """Refuse a request that another site could have made a browser send."""
        try:
            super().enforce_csrf(request)
        except PermissionDenied as error:
            raise PermissionDenied(
                "The CSRF token is missing or wrong. Send the value of the csrftoken cookie as X-CSRFToken.",
                code="csrf_failed",
            ) from error
