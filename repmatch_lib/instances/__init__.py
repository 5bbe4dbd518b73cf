"""Instance-level RepMatch: many rows' own updates in one pass, scored block by block."""
