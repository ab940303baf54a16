"""Builds zoos: grids of networks, trained as stacks, in a store that survives anything."""
