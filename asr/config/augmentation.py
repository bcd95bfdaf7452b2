"""The configuration of augmentation: for each kind how often, and between which values."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from asr.config.section import Section


class Perturbation(Section):
    """One kind of augmentation: how often, and how strongly. The strength is drawn evenly from `range`."""

    limits: ClassVar[tuple[float, float]]
    probability: float = Field(1.0, ge=0, le=1)
    """Share of the utterances of an epoch that get it."""
    range: tuple[float, float]
    """Lowest and highest strength, in the unit of its kind."""

    @model_validator(mode="after")
    def _check_range(self) -> Perturbation:
        (low, high), (least, most) = self.range, self.limits
        if not least <= low <= high <= most:
            raise ValueError(f"range must lie within {least:g} and {most:g}, low first, not ({low:g}, {high:g})")
        return self


class SpeedConfig(Perturbation):
    """Tempo and pitch together, as a faster tape would (Ko et al. 2015)."""

    limits = (0.5, 2.0)
    range: tuple[float, float] = (0.9, 1.1)
    """Factor; 1.1 is faster."""


class TempoConfig(Perturbation):
    """Faster or slower at the same pitch (phase vocoder)."""

    limits = (0.5, 2.0)
    range: tuple[float, float] = (0.9, 1.1)
    """Factor; 1.1 is faster."""


class PitchConfig(Perturbation):
    """Higher or lower at the same tempo."""

    limits = (-12.0, 12.0)
    range: tuple[float, float] = (-2.0, 2.0)
    """Semitones."""


class SilenceConfig(Perturbation):
    """Silence before and after the speech, drawn separately for each end."""

    limits = (0.0, 10.0)
    range: tuple[float, float] = (0.0, 0.5)
    """Seconds."""


class ReverberationConfig(Perturbation):
    """The sound of a room."""

    limits = (0.01, 5.0)
    range: tuple[float, float] = (0.1, 0.6)
    """Seconds in which a random impulse response falls by 60 dB. Without meaning where `folder` is set."""
    folder: str | None = None
    """Folder of measured impulse responses, audio files at any depth; none: random ones."""


class NoiseConfig(Perturbation):
    """Additive noise."""

    limits = (-20.0, 60.0)
    range: tuple[float, float] = (5.0, 25.0)
    """Signal-to-noise ratio in dB."""
    kinds: list[Literal["white", "pink", "babble"]] = Field(default=["white", "pink"], min_length=1)
    """Made noise to choose from; babble is five other utterances of the training set at once."""
    folder: str | None = None
    """Folder of recorded noise, audio files at any depth, instead of made noise."""


class EqualiserConfig(Perturbation):
    """Another microphone: each octave louder or softer by itself, with smooth passages (as in Nam et al. 2022)."""

    limits = (-30.0, 30.0)
    range: tuple[float, float] = (-6.0, 6.0)
    """dB, drawn for each octave."""


class GainConfig(Perturbation):
    """Louder or softer. Of no effect with `features.normalisation: utterance` and no `prior_seconds`."""

    limits = (-60.0, 60.0)
    range: tuple[float, float] = (-6.0, 6.0)
    """dB."""


class ClippingConfig(Perturbation):
    """A recording made too loud: what exceeds full scale is cut off."""

    limits = (0.0, 40.0)
    range: tuple[float, float] = (3.0, 12.0)
    """dB by which the loudest sample would exceed full scale."""


class TelephoneConfig(Perturbation):
    """A telephone line: 300 Hz to an upper edge, 8 kHz, 8-bit mu-law (ITU-T G.711)."""

    limits = (2000.0, 4000.0)
    range: tuple[float, float] = (3000.0, 3600.0)
    """Upper edge of the band, Hz."""


class CodecConfig(Perturbation):
    """Through a lossy codec and back."""

    limits = (0.0, 1.0)
    range: tuple[float, float] = (0.5, 1.0)
    """Compression: 0 is the best quality of the codec, 1 the smallest file; gsm has but one."""
    formats: list[Literal["opus", "vorbis", "mp3", "gsm"]] = Field(default=["opus", "mp3"], min_length=1)
    """Codecs to choose from. Opus costs ten times as much as Vorbis: 40 times real time on one thread."""


class NoSpeechConfig(Section):
    """Sounds without words, for the model to be silent about: noise, hum, notes, knocks, the recording's own pauses."""

    probability: float = Field(0.05, ge=0, le=0.5)
    """Share of the utterances of an epoch that are replaced, their transcripts by nothing."""
    beside: float = Field(0.05, ge=0, le=1)
    """Share of the others that get such a sound before them, after them, or both. They lengthen batches: a training
    with these defaults computes a quarter more."""
    seconds: tuple[float, float] = (0.2, 2.0)
    """Shortest and longest sound at one end of an utterance."""

    @model_validator(mode="after")
    def _check_seconds(self) -> NoSpeechConfig:
        if not 0 <= self.seconds[0] <= self.seconds[1] <= 10:
            raise ValueError(f"seconds must lie within 0 and 10, low first, not {self.seconds}")
        return self


class SpecAugmentConfig(Section):
    """SpecAugment (Park et al. 2019) on the features, drawn anew for each step; masked values become the mean."""

    frequency_masks: int = Field(2, ge=0, le=10)
    """How many bands are masked."""
    frequency_width: float = Field(0.25, ge=0, le=1)
    """Widest band, as a share of the mel bins."""
    time_masks_per_second: float = Field(0.5, ge=0, le=10)
    """Time masks grow with the length of the utterance; the count is rounded up."""
    time_width_ms: float = Field(250.0, ge=0)
    """Widest time mask, milliseconds: about a letter or a short syllable."""
    frequency_warp: float = Field(0.0, ge=0, le=0.5)
    """Before masking, stretch or squeeze frequencies by up to this share, as the length of another vocal tract would
    (Jaitly and Hinton 2013); 0.1 in the paper. Unlike speed it leaves the tempo alone."""


class AugmentationConfig(Section):
    """What is done to training utterances, in this order; null turns one off. All but `spec_augment` hangs on seed,
    epoch and utterance alone."""

    no_speech: NoSpeechConfig | None = None
    speed: SpeedConfig | None = SpeedConfig()
    tempo: TempoConfig | None = None
    pitch: PitchConfig | None = None
    silence: SilenceConfig | None = None
    reverberation: ReverberationConfig | None = None
    noise: NoiseConfig | None = None
    equaliser: EqualiserConfig | None = None
    gain: GainConfig | None = None
    clipping: ClippingConfig | None = None
    telephone: TelephoneConfig | None = None
    codec: CodecConfig | None = None
    spec_augment: SpecAugmentConfig | None = SpecAugmentConfig()
