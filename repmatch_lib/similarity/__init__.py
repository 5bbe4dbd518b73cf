"""The measure: subspaces of adapters, their Grassmann similarity, all pairs, variance."""
