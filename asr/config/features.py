"""The section `features`: what the network sees of a waveform."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from asr.config.section import Section


class FeaturesConfig(Section):
    """Log-mel features, of which only the shape of the spectrum matters, not how loud the recording is."""

    sample_rate: int = Field(16000, ge=4000, le=96000)
    """Hz. Every recording is resampled to it."""
    mels: int = Field(80, ge=8, le=256)
    """Mel bins, Slaney scale and area normalisation, as librosa's default."""
    window_ms: float = Field(25.0, gt=1, le=200)
    """Hann window, milliseconds."""
    hop_ms: float = Field(10.0, gt=1, le=100)
    """Milliseconds between frames."""
    low_hz: float = Field(0.0, ge=0)
    """Lower edge of the first mel filter."""
    high_hz: float | None = None
    """Upper edge of the last mel filter; none: half the sample rate."""
    preemphasis: float = Field(0.97, ge=0, lt=1)
    """y[t] = x[t] - preemphasis * x[t-1]: evens out the fall of speech towards high frequencies."""
    dynamic_range: float | None = Field(42.0, gt=0, le=200)
    """Decibels. Mel energies that are further than this below the recording's mean are raised to there before the
    logarithm, so that a recording has the same features 30 dB softer. None: those below `log_floor` are, as in models
    of before, whose configuration has a `log_floor` alone."""
    log_floor: float = Field(1e-20, gt=0)
    """Mel energies are raised to this in any case: silence has no logarithm. Of samples in [-1, 1]."""
    normalisation: Literal["utterance", "global", "none"] = "utterance"
    """Mean 0 and variance 1 of each bin: over the utterance, with statistics of the training set, or not at all.
    Over the utterance takes out level (beside `dynamic_range`) and channel; a word of 0.3 s alone is too short for it
    (see recipes/digits)."""
    prior_seconds: float = Field(0.0, ge=0, le=60)
    """With `utterance`: the statistics of the training set count as so many seconds of the utterance do, so that a
    short one is not normalised by its own few frames alone (the maximum a posteriori estimate of a Gaussian)."""

    @property
    def measured(self) -> bool:
        """Whether a model has statistics of its training set among its weights."""
        return self.normalisation == "global" or self.prior_seconds > 0

    @property
    def prior_frames(self) -> float:
        """`prior_seconds` in frames."""
        return 1000 * self.prior_seconds / self.hop_ms

    @model_validator(mode="before")
    @classmethod
    def _absolute(cls, section: Any) -> Any:
        """Where only the floor is named, it is the only one."""
        if isinstance(section, dict) and "log_floor" in section and "dynamic_range" not in section:
            return section | {"dynamic_range": None}
        return section

    @model_validator(mode="after")
    def _check_prior(self) -> FeaturesConfig:
        if self.prior_seconds and self.normalisation != "utterance":
            raise ValueError(f"prior_seconds means nothing with normalisation {self.normalisation}; leave it at 0")
        return self

    @model_validator(mode="after")
    def _check_band(self) -> FeaturesConfig:
        high = self.high_hz if self.high_hz is not None else self.sample_rate / 2
        if not self.low_hz < high <= self.sample_rate / 2:
            raise ValueError(
                f"low_hz {self.low_hz:g} < high_hz {high:g} <= half the sample rate {self.sample_rate / 2:g} must hold"
            )
        if self.hop_ms > self.window_ms:
            raise ValueError(f"hop_ms {self.hop_ms:g} is longer than window_ms {self.window_ms:g}: audio would be lost")
        return self
