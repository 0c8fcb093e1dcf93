"""What a view is given once the sign-in middleware has let it through."""

from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from teams.models import User


class PersonRequest(HttpRequest):
    """A request of somebody who is signed in."""

    user: User
    htmx: HtmxDetails
