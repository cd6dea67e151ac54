"""Fetching what callers and configs name by address, without reaching what they may not reach. Needs aiohttp."""

from headrace_kit.fetching.addresses import Network, is_public
from headrace_kit.fetching.fetcher import CannotFetchError, Fetched, Fetcher, Limits, Resolve, anything

__all__ = ["CannotFetchError", "Fetched", "Fetcher", "Limits", "Network", "Resolve", "anything", "is_public"]
