"""Generated protobuf code of the node; only the codecs beside this folder import it."""
