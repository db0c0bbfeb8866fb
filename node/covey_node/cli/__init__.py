"""The `covey` command: a thin client of the node's local API.

Imports the standard library only, so that it starts in a blink; what needs more (init, join) is imported on use.
"""
