"""The companion: records, the ledger of claims, tables for pages, notebooks run with checked parameters."""
