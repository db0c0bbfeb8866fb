"""Covey with foreign libp2p implementations."""
