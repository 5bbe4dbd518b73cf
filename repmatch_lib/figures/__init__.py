"""Figures by form: maps, points, lines. Nothing is computed here."""
