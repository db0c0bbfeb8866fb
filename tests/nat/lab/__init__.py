"""The namespace lab: a small internet with real delay, where hole punching is timed and repeated by the hundred."""
