"""Recipes for models that write: pairs or plain text in, a small decoder in a bundle out."""
