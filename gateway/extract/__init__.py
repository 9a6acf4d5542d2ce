"""Octets to Document: what a recipient could read, and what we could not."""
