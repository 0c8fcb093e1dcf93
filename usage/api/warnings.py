"""Warnings of unusual spend in the API."""

from django.db.models import QuerySet

from core.rest.fields import id_pattern
from core.rest.views import NounViewSet
from usage.models import SpendWarning
from usage.selectors.warnings import visible_warnings
from usage.serializers import SpendWarningOut, SpendWarningQuery


class SpendWarningViewSet(NounViewSet):
    """Projects that came to spend more than they usually do, of what the person may see, the latest first."""

    noun = "warning"
    out = SpendWarningOut
    list_query = SpendWarningQuery
    lookup_value_regex = id_pattern("wrn")

    def get_queryset(self) -> QuerySet[SpendWarning]:
        """Return the warnings in scope."""
        return visible_warnings(self.actor).select_related("project")

    def chosen(self, rows: QuerySet[SpendWarning]) -> QuerySet[SpendWarning]:
        """Narrow the list down to a project."""
        return self.narrowed(rows, project="project__public_id")
