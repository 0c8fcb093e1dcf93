"""The pages of one team and of one project; they join all apps."""
