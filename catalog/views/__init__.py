"""The pages of models, and of those that nobody priced."""

from catalog.views.models import models
from catalog.views.unpriced import declare_free, enter_prices, list_unpriced

__all__ = ["declare_free", "enter_prices", "list_unpriced", "models"]
