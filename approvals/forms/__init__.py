"""What people enter about requests. Rules stand in the services; a form says what to enter."""

from approvals.forms.asking import (
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
