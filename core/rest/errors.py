"""What the edge of the management API refuses before a service is asked."""

from rest_framework import status
from rest_framework.exceptions import APIException


class BodyTooLarge(APIException):
    """The body is over its limit; it was not read to its end."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "body_too_large"
