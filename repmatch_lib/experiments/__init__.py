"""Requests that the store answers: runs, rankings, selections, fine-tunings; and what chapters make of them."""
