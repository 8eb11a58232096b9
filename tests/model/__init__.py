"""An exhaustive check of the one-key cache protocol: every interleaving, within stated bounds."""
