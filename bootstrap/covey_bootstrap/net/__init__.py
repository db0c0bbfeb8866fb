"""The seed on the network."""
