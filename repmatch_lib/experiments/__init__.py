"""Requests that the store answers: runs, rankings, selections, fine-tunings, transfer, images."""
