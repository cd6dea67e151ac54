"""Generated protobuf and gRPC code of the headrace contracts."""
