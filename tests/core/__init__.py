"""Tests of covey_core but its libp2p host."""
