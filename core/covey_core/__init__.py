"""What the node, the relay and the bootstrap seed share."""
