"""The WSGI application of both twins."""

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "bench.twins.settings"

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

from django.urls import path  # noqa: E402  the app registry must be ready

from bench.twins.views import Authorize, NaiveAuthorize  # noqa: E402

urlpatterns = [path("authorize", Authorize.as_view()), path("naive", NaiveAuthorize.as_view())]
