from headrace_protos.retrieval.v1 import indexes_pb2 as _indexes_pb2
from headrace_protos.retrieval.v1 import jobs_pb2 as _jobs_pb2
from headrace_protos.retrieval.v1 import memory_pb2 as _memory_pb2
from headrace_protos.retrieval.v1 import messages_pb2 as _messages_pb2
from headrace_protos.retrieval.v1 import sources_pb2 as _sources_pb2
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor
