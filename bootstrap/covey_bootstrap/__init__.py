"""The seed that introduces newcomers to the network."""
