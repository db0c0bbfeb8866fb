"""The shells that talk to peers."""
