"""A recipe (a TOML file) goes in; a run folder with model, metrics and reports comes out."""
