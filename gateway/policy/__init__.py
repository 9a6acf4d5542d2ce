"""Classify, then decide: judgements about a message, as pure functions."""
