"""Importers: one file per foreign table."""
