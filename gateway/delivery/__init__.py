"""Plan and judge: which hops may be tried, and whether one proved who it is."""
