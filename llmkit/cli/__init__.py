"""One file per verb: flags in, one call, one report out."""
