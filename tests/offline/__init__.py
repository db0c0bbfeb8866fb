"""Two people behind NATs who are never online together, with the production images and three relays."""
