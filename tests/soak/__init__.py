"""The soak: many chats, real workers that are killed and frozen, and an audit at the end."""
