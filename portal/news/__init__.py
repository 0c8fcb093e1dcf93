"""News: what each person wants to be told, what was delivered, webhooks and Slack."""
