"""One readable file per task kind: the whole way from a data file to a bundle."""
