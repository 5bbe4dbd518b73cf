"""Tasks and their rows: the paper's eight, a user's own files, groups by overlap."""
