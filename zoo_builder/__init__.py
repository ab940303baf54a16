"""Builds zoos: grids of networks, trained by the thousand, in a store that survives anything."""
