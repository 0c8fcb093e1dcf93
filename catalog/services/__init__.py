"""What may be called and what it costs, written."""

from catalog.services.entering import declare_free, enter_prices
from catalog.services.importing import ImportReport, ModelChange, PublishedPrices, import_prices
from catalog.services.overriding import end_price, override_price
from catalog.services.reviewing import approve_prices, reject_prices

__all__ = [
    "ImportReport",
    "ModelChange",
    "PublishedPrices",
    "approve_prices",
    "declare_free",
    "end_price",
    "enter_prices",
    "import_prices",
    "override_price",
    "reject_prices",
]
