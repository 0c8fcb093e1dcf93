"""What was consumed: every call once, its roll-ups, what gateways and providers say of it, and where they
differ.
"""

from usage.models.events import (
    Attribution,
    BlockedHour,
    Finish,
    GatewayCall,
    TokenCounts,
    UsageDay,
    UsageEvent,
    UsageHour,
)
from usage.models.intake import ImportCursor, Quarantine, QuarantineReason, RetiredMonth, SourceKind
from usage.models.provider import (
    Invoice,
    InvoiceLine,
    ProviderAccount,
    ProviderCost,
    ProviderUsage,
    UpstreamCredential,
)
from usage.models.reconciliation import (
    Discrepancy,
    DiscrepancyClass,
    DiscrepancyState,
    ReconciliationRun,
    RunState,
)

__all__ = [
    "Attribution",
    "BlockedHour",
    "Discrepancy",
    "DiscrepancyClass",
    "DiscrepancyState",
    "Finish",
    "GatewayCall",
    "ImportCursor",
    "Invoice",
    "InvoiceLine",
    "ProviderAccount",
    "ProviderCost",
    "ProviderUsage",
    "Quarantine",
    "QuarantineReason",
    "ReconciliationRun",
    "RetiredMonth",
    "RunState",
    "SourceKind",
    "TokenCounts",
    "UpstreamCredential",
    "UsageDay",
    "UsageEvent",
    "UsageHour",
]
