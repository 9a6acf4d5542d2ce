"""Proof: records as leaves, the tree over them, signed checkpoints, bundles.

All pure. What was observed is told by whoever made the record; where leaves are kept,
by the store. `verify.py` stands alone and imports nothing of ours.
"""
