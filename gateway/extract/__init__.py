"""Octets to Document: what a recipient could read, and what we could not."""

from gateway.extract.extractor import MimeExtractor

__all__ = ["MimeExtractor"]
