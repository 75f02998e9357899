"""One file per student, found by its name. Each exports `build(ground, earlier) -> Student | None`."""
