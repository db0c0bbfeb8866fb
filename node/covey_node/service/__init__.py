"""The node put together: what happens when a user, a peer or a clock asks for something."""
