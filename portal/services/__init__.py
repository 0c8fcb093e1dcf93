"""What people change about the portal itself: their notifications, deliveries, webhooks, Slack."""
