"""Requests that the store answers: runs, rankings, selections, fine-tunings, transfer; and what chapters make of them."""
