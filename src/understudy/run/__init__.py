"""Answers from a bundle. Nothing here may see torch."""
