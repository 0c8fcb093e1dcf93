"""The baseline: a bare Django project with one synchronous view, nothing else installed."""

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

settings.configure(
    SECRET_KEY="x" * 50,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[],
    INSTALLED_APPS=[],
    LOGGING_CONFIG=None,
)

BODY = b'{"decision": "allow"}'


def hello(request: HttpRequest) -> HttpResponse:
    """Answer with a few bytes."""
    return HttpResponse(BODY, content_type="application/json", headers={"Content-Length": str(len(BODY))})


urlpatterns = [path("hello", hello)]
application = get_wsgi_application()
