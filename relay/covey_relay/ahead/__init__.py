"""Contact records that wait at the relay for their day.

Owns: what lies here, within which bounds, and when each is to be published. Spec: docs/spec/ahead.md. Never touches:
streams, the DHT (covey_relay.net.ahead).
"""
