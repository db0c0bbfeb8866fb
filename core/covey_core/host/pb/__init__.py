"""Generated from the .proto files beside it (`make proto`); used only by the codecs of this folder's parent."""
