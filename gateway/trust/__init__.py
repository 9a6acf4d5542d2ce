"""Whom we trust, and why: chains, TLSA records, pins and our own keys."""
