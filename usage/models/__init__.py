"""What was consumed: every call once, its roll-ups, what gateways and providers say of it, and where they
differ.
"""

from usage.models.events import (
    Attribution,
    BlockedHour,
    Finish,
    FoldedDays,
    GatewayCall,
    ProjectDay,
    TokenCounts,
    UsageDay,
    UsageEvent,
    UsageHour,
)
from usage.models.intake import (
    ImportCursor,
    Quarantine,
    QuarantineOutcome,
    QuarantineReason,
    RecountedDay,
    RetiredMonth,
    SourceKind,
)
from usage.models.pace import SpendDrift, SpendPace, SpendWarning, SpendWatch
from usage.models.periods import PeriodClose, PeriodFigure, PeriodState
from usage.models.provider import (
    Invoice,
    InvoiceLine,
    ProviderAccount,
    ProviderCost,
    ProviderUsage,
    UpstreamCredential,
)
from usage.models.reconciliation import (
    BYPASSES,
    Discrepancy,
    DiscrepancyClass,
    DiscrepancyState,
    LedgerCorrection,
    Level,
    ReconciliationRun,
    RunState,
)
from usage.models.repricing import Repricing, RepricingState, TeamSum
from usage.models.runaways import KeyHour, KeyMinute
from usage.models.stored import CallAttribution, CallSource, StoredCall

__all__ = [
    "BYPASSES",
    "Attribution",
    "BlockedHour",
    "CallAttribution",
    "CallSource",
    "Discrepancy",
    "DiscrepancyClass",
    "DiscrepancyState",
    "Finish",
    "FoldedDays",
    "GatewayCall",
    "ImportCursor",
    "Invoice",
    "InvoiceLine",
    "KeyHour",
    "KeyMinute",
    "LedgerCorrection",
    "Level",
    "PeriodClose",
    "PeriodFigure",
    "PeriodState",
    "ProjectDay",
    "ProviderAccount",
    "ProviderCost",
    "ProviderUsage",
    "Quarantine",
    "QuarantineOutcome",
    "QuarantineReason",
    "ReconciliationRun",
    "RecountedDay",
    "Repricing",
    "RepricingState",
    "RetiredMonth",
    "RunState",
    "SourceKind",
    "SpendDrift",
    "SpendPace",
    "SpendWarning",
    "SpendWatch",
    "StoredCall",
    "TeamSum",
    "TokenCounts",
    "UpstreamCredential",
    "UsageDay",
    "UsageEvent",
    "UsageHour",
]
