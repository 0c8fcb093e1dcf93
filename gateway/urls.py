from django.urls import path

from gateway.hot.decisions import ASKS
from gateway.views import decide

urlpatterns = [path(decision_path.removeprefix("/"), decide) for decision_path in ASKS]
