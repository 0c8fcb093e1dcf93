"""What the people and roles of the organisation can refuse."""

from core.errors import AlreadyDoneError, NotAllowedError


class NotInTeamError(NotAllowedError):
    """Only people who work in the team may do this."""

    code = "not_in_team"
    title = "Not in this team"


class RoleNeededError(NotAllowedError):
    """The act belongs to a role that the actor does not hold now; the detail names who does."""

    code = "role_needed"
    title = "Another role is needed"


class AlreadyHeldError(AlreadyDoneError):
    """The person has this membership or role already."""

    code = "already_held"
    title = "Already held"


class AddressTakenError(AlreadyDoneError):
    """Somebody has this e-mail address already."""

    code = "address_taken"
    title = "The address is taken"


class GroupTakenError(AlreadyDoneError):
    """The directory has a group of this name already."""

    code = "group_taken"
    title = "The name is taken"
