"""Language models: what words are likely, from text alone."""
