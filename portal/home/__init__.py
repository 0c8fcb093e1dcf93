"""What the portal opens with: the Overview, the search, the status; they join all apps."""
