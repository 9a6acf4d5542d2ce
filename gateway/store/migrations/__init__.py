"""Making and changing the tables; forward only (G-20)."""
