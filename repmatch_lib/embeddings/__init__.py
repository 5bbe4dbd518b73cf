"""Vectors of an encoder, and what can be said of them: cosines, geometry, probes, words, distances of tasks."""
