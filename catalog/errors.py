"""What the catalogue can refuse."""

from http import HTTPStatus

from core.errors import AlreadyDoneError, DomainError


class PriceMovesError(DomainError):
    """An import would move a price by more than 20 %, or take one away, and nobody agreed to it."""

    code = "price_moves_need_acceptance"
    status = HTTPStatus.CONFLICT
    title = "Prices move a lot"


class PriceListError(DomainError):
    """The installed price list says something that cannot be kept exactly; the detail names the model."""

    code = "price_list_unusable"
    title = "The price list cannot be used"


class AlreadyPricedError(AlreadyDoneError):
    """The model needs no price any more: it has one, is declared free, or is retired."""

    code = "already_priced"
    title = "Needs no price any more"
