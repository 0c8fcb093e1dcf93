"""What the catalogue can refuse."""

from http import HTTPStatus

from core.errors import DomainError


class PriceMovesError(DomainError):
    """An import would move a price by more than 20 %, or take one away, and nobody agreed to it."""

    code = "price_moves_need_acceptance"
    status = HTTPStatus.CONFLICT
    title = "Prices move a lot"


class PriceListError(DomainError):
    """The installed price list says something that cannot be kept exactly; the detail names the model."""

    code = "price_list_unusable"
    title = "The price list cannot be used"
