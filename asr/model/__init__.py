"""The acoustic model: waveforms to token log-probabilities."""
