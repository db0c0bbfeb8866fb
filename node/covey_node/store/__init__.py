"""The node's encrypted database and the files around it.

Owns: `<home>/covey.db`, `<home>/key.json`, `<home>/lock`. One module a table group; functions take a `Tx`.
Spec: docs/spec/store.md. Never touches: the network, libp2p, what a packet or a key means (they are bytes here).
"""
