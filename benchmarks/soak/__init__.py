"""Mail between two people, one of whom is there at a time, while relays and nodes are killed (`__main__.py`)."""
