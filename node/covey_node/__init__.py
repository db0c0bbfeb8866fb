"""The user's node."""
