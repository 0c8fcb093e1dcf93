"""What may be called and what it costs, written."""

from catalog.services.entering import declare_free, enter_prices
from catalog.services.importing import ImportReport, ModelChange, PublishedPrices, import_prices

__all__ = [
    "ImportReport",
    "ModelChange",
    "PublishedPrices",
    "declare_free",
    "enter_prices",
    "import_prices",
]
