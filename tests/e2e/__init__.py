"""The production images across NATed containers, driven as a user would."""
