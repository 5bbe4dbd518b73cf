"""Which instances to keep: rules, coverage, EL2N, near-duplicates. Plain functions of scores and vectors."""
