"""Token log-probabilities to hypotheses."""
