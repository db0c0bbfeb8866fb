"""The node on the network: chat and contact streams, circuits, paths, records; the only room with I/O to peers."""
