"""What people enter about requests. Rules stand in the services; a form says what to enter."""

from approvals.forms.asking import (
    AmendIncreaseForm,
    CostForm,
    DaysField,
    DecideForm,
    DecideIncreaseForm,
    IncreaseForm,
    KeyForm,
    ModelsForm,
    ProjectForm,
    ReasonForm,
    TierForm,
)

__all__ = [
    "AmendIncreaseForm",
    "CostForm",
    "DaysField",
    "DecideForm",
    "DecideIncreaseForm",
    "IncreaseForm",
    "KeyForm",
    "ModelsForm",
    "ProjectForm",
    "ReasonForm",
    "TierForm",
]
