"""`RetrievalService` over gRPC: decode, call the domain, encode."""

from headrace_retrieval.grpc_api.servicer import RetrievalServicer, Services, servicing

__all__ = ["RetrievalServicer", "Services", "servicing"]
