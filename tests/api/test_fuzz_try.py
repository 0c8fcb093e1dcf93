import os, sys
sys.path[:0] = ["/tmp/api"]
import pytest, schemathesis
from django.core.wsgi import get_wsgi_application
from django.db import transaction
from hypothesis import HealthCheck, settings
from drf_spectacular.generators import SchemaGenerator
from tests.cast import cast
from tests.api.world import make_world, Caller

config = schemathesis.Config.from_dict({"generation": {"mode": "all", "database": "none"}, "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx","403","404","409","410","412","422"]}}})
schema = schemathesis.openapi.from_dict(SchemaGenerator().get_schema(request=None, public=True), config=config)
schema.app = get_wsgi_application()
schema.config.base_url = "http://testserver"

from django.core import signals
from django.db import close_old_connections
signals.request_started.disconnect(close_old_connections)
signals.request_finished.disconnect(close_old_connections)

@schema.parametrize()
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
def test_api(case, cast):
    caller = Caller(cast.ann)
    sid = caller.client.cookies["purser_session"].value
    with transaction.atomic():
        case.call_and_validate(headers={"X-CSRFToken": "t"*32, "Accept-Encoding": "identity"}, cookies={"purser_session": sid, "csrftoken": "t"*32})
        transaction.set_rollback(True)
