"""Landscape metrics."""
