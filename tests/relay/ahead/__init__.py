"""Tests of the records signed ahead at a relay."""
