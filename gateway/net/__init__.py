"""The door to the network: questions to DNS, and mail to the next hop."""
