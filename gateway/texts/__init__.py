"""Every sentence that a person reads, Dutch and English."""
