"""Trying the policy on copies of live mail: counted, never sent, never kept (R3).

Nothing here can reach the queue, the spool or a notice: what comes in is classified and
decided as in earnest, and what remains are numbers. `original.py` finds the message and
its recipients behind a copy, `watch.py` decides and counts, `mailfile.py` reads files.
"""
