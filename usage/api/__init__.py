"""Usage, the books, and what others say of them in the API."""

from usage.api.books import InvoiceViewSet, ProviderAccountViewSet, SourceViewSet, UpstreamKeyViewSet
from usage.api.days import BlockedCallsViewSet, FocusViewSet, UsageDayViewSet
from usage.api.periods import PeriodViewSet
from usage.api.quarantine import QuarantineViewSet
from usage.api.reconciliation import DiscrepancyViewSet, ReconciliationRunViewSet
from usage.api.repricing import RepricingViewSet
from usage.api.warnings import SpendWarningViewSet

__all__ = [
    "BlockedCallsViewSet",
    "DiscrepancyViewSet",
    "FocusViewSet",
    "InvoiceViewSet",
    "PeriodViewSet",
    "ProviderAccountViewSet",
    "QuarantineViewSet",
    "ReconciliationRunViewSet",
    "RepricingViewSet",
    "SourceViewSet",
    "SpendWarningViewSet",
    "UpstreamKeyViewSet",
    "UsageDayViewSet",
]
