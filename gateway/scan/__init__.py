"""Malware scanners: mail is looked at before it is accepted (R18)."""
