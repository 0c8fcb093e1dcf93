"""What a view is given once the sign-in middleware has let it through."""

from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from teams.models import User
from teams.selectors import RolesHeld


class PersonRequest(HttpRequest):
    """A request of somebody who is signed in. A page that needs his roles keeps them for the frame."""

    user: User
    htmx: HtmxDetails
    roles_held: RolesHeld
