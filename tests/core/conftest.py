"""Settings of hypothesis: no test of ours is about how fast this machine is today."""

from hypothesis import settings

settings.register_profile("covey", deadline=None)
settings.load_profile("covey")
