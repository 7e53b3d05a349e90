"""A thousand webhooks on real parts: `scripts/webhook-load`."""
