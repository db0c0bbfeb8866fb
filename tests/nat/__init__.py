"""Covey across NATs of every kind: the container matrix with the production images, and the lab with delay."""
