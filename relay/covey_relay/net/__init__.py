"""The rooms of the relay that touch streams and connections."""
