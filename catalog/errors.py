"""What the catalogue can refuse."""

from core.errors import AlreadyDoneError, DomainError, StaleError


class StaleProposalError(StaleError):
    """By now a proposed change of prices would do something else than what was seen."""

    code = "price_proposal_stale"
    title = "Prices changed since"


class PriceListError(DomainError):
    """The installed price list says something that cannot be kept exactly; the detail names the model."""

    code = "price_list_unusable"
    title = "The price list cannot be used"


class AlreadyPricedError(AlreadyDoneError):
    """The model needs no price any more: it has one, is declared free, or is retired."""

    code = "already_priced"
    title = "Needs no price any more"
