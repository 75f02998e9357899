"""One file per kind of rung, found by its name. Each exports `open_rung(bundle, rung, threads) -> RawModel`."""
