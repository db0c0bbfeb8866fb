"""The node as a whole: real sockets, real databases, one process."""
