"""The circuit relay that operators host."""
