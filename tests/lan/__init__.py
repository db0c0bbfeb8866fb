"""Covey on a home's network: a router that really maps ports, and neighbours that really multicast, in namespaces."""
