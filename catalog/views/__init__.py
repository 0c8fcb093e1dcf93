"""The pages of models and their prices, and of models that nobody priced."""

from catalog.views.models import models
from catalog.views.price_changes import end, import_list, override, show_proposal
from catalog.views.prices import list_prices, show_prices
from catalog.views.unpriced import declare_free, enter_prices, list_unpriced

__all__ = [
    "declare_free",
    "end",
    "enter_prices",
    "import_list",
    "list_prices",
    "list_unpriced",
    "models",
    "override",
    "show_prices",
    "show_proposal",
]
