"""Scores of generated images and of ranked lists: pure functions on arrays, and feature networks."""
