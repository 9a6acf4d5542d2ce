"""Wait, survive, retry: pure functions over jobs; durability is the store's care."""
