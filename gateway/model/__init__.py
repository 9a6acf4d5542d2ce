"""The words of the house, as frozen values. Imports nothing of ours but itself."""
