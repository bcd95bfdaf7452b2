"""Which augmentations an utterance gets in an epoch: drawn from seed, epoch and id, then applied to its waveform."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from asr.config import AugmentationConfig, Perturbation
from asr.data import noise, perturbations
from asr.data.no_speech import no_speech, surround
from asr.data.problems import Problem
from asr.errors import ConfigError

KINDS = (
    "speed",
    "tempo",
    "pitch",
    "silence",
    "reverberation",
    "noise",
    "equaliser",
    "gain",
    "clipping",
    "telephone",
    "codec",
)
"""What is done to waveforms, in the order in which it is done: the speaker, the room, the microphone, the line."""
_TEXTS = {
    "speed": "speed {0:.2f}",
    "tempo": "tempo {0:.2f}",
    "pitch": "pitch {0:+.1f} semitones",
    "silence": "silence {0:.2f} s before, {1:.2f} s after",
    "reverberation": "reverberation {0:.2f} s",
    "noise": "noise {source} {0:.1f} dB",
    "equaliser": "equaliser of octaves {0:+.1f} to {1:+.1f} dB",
    "gain": "gain {0:+.1f} dB",
    "clipping": "clipping {0:.1f} dB",
    "telephone": "telephone up to {0:.0f} Hz",
    "codec": "codec {source} {0:.2f}",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One augmentation of one utterance."""

    kind: str
    """One of `KINDS`."""
    strengths: tuple[float, ...]
    """Drawn from the `range` of its kind: one, or for silence one for each end, for an equaliser for each octave."""
    source: str
    """Which noise, impulse response or codec, a file by its path in the folder; empty where there is no choice."""
    random: np.random.Generator = field(compare=False, repr=False)
    """For what is drawn while it is applied, such as the samples of the noise."""

    def __str__(self) -> str:
        if (self.kind == "reverberation" and self.source) or self.source == "gsm":  # have no strength
            return f"{self.kind} {self.source}"
        shown = (min(self.strengths), max(self.strengths)) if self.kind == "equaliser" else self.strengths
        return _TEXTS[self.kind].format(*shown, source=self.source)


class Augmenter:
    """Perturbs waveforms as configured. The same seed, epoch and id give the same bytes in every process.

    Each kind has its own random numbers: switching one on, or changing its probability, leaves the others' as they
    were.

    Attributes:
        problems: files in the folders of noise and impulse responses that cannot be used.
    """

    def __init__(
        self,
        config: AugmentationConfig,
        sample_rate: int,
        *,
        seed: int = 0,
        babble: Callable[[], Sequence[np.ndarray]] | None = None,
    ):
        """Read the folders of noise and impulse responses.

        Args:
            config: what to do. SpecAugment works on features, and is left to the model.
            sample_rate: of the waveforms, Hz.
            seed: of all that is drawn.
            babble: returns waveforms `[samples]` of utterances to make babble of, the same in every process; called
                once, when babble is first drawn.

        Raises:
            ConfigError: a folder does not exist or holds no readable audio; babble is configured, and there is no
                `babble`.
        """
        self.sample_rate = sample_rate
        self.seed = seed
        self._active: dict[str, Perturbation] = {
            kind: settings for kind in KINDS if (settings := getattr(config, kind)) is not None
        }
        self._folders = {
            kind: noise.SoundFolder(folder, f"augmentation.{kind}.folder")
            for kind, settings in self._active.items()
            if (folder := getattr(settings, "folder", None)) is not None
        }
        self.problems: list[Problem] = [p for folder in self._folders.values() for p in folder.problems]
        self._sources: dict[str, list[str]] = {kind: folder.names for kind, folder in self._folders.items()}
        if config.noise and not config.noise.folder:
            self._sources["noise"] = list(config.noise.kinds)
            if "babble" in config.noise.kinds and babble is None:
                raise ConfigError(
                    "augmentation.noise.kinds: babble is made of other utterances, and none are at hand here"
                )
        if config.codec:
            self._sources["codec"] = list(config.codec.formats)
        self._no_speech = config.no_speech
        self._babble = babble
        self._others: Sequence[np.ndarray] | None = None

    def no_speech(self, waveform: np.ndarray, *, epoch: int, id: str) -> np.ndarray | None:
        """A sound without words in the place of this utterance `[samples]`, or None: it keeps its words."""
        if self._no_speech is None:
            return None
        random = self._random(epoch, id, "no_speech")
        replaced = random.random() < self._no_speech.probability
        return no_speech(waveform, self.sample_rate, random) if replaced else None

    def surround(self, waveform: np.ndarray, *, epoch: int, id: str) -> np.ndarray:
        """This utterance `[samples]` with sounds without words beside it, or as it is; `__call__` begins with this."""
        if self._no_speech is None or not self._no_speech.beside:
            return waveform
        random = self._random(epoch, id, "beside")
        beside = random.random() < self._no_speech.beside
        return surround(waveform, self.sample_rate, random, self._no_speech.seconds) if beside else waveform

    def draw(self, epoch: int, id: str, fastest: float = math.inf) -> list[Step]:
        """What `__call__` does to this utterance, in order, after `surround`.

        Args:
            epoch: from 0.
            id: of the utterance.
            fastest: the product of speed and tempo never exceeds this factor.
        """
        steps = []
        for kind, settings in self._active.items():
            random = self._random(epoch, id, kind)
            # All is drawn before it is known whether it is needed: the strength does not depend on the probability.
            drawn = random.random() < settings.probability
            strengths = tuple(random.uniform(*settings.range, size=self._strengths(kind)).tolist())
            sources = self._sources.get(kind)
            source = sources[random.integers(len(sources))] if sources else ""
            if not drawn:
                continue
            if kind in ("speed", "tempo"):
                strengths = (min(strengths[0], fastest),)
                fastest /= strengths[0]
            steps.append(Step(kind, strengths, source, random))
        return steps

    def __call__(self, waveform: np.ndarray, *, epoch: int, id: str, fastest: float = math.inf) -> np.ndarray:
        """The augmented waveform, float32 `[other samples]`, of `[samples]`; the arguments of `draw`.

        Raises:
            AudioError: a file of noise or an impulse response cannot be decoded.
        """
        waveform = self.surround(waveform, epoch=epoch, id=id)
        for step in self.draw(epoch, id, fastest):
            waveform = self._apply(step, waveform)
        return waveform

    def _strengths(self, kind: str) -> int:
        """How many are drawn: one for each end, or octave, or one alone."""
        return {"silence": 2, "equaliser": len(perturbations.octaves(self.sample_rate))}.get(kind, 1)

    def _random(self, epoch: int, id: str, kind: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, zlib.crc32(id.encode()), zlib.crc32(kind.encode())])

    def _apply(self, step: Step, waveform: np.ndarray) -> np.ndarray:
        rate, strength = self.sample_rate, step.strengths[0]
        match step.kind:
            case "speed":
                return perturbations.change_speed(waveform, strength)
            case "tempo":
                return perturbations.change_tempo(waveform, rate, strength)
            case "pitch":
                return perturbations.change_pitch(waveform, rate, strength)
            case "silence":
                return perturbations.add_silence(waveform, rate, *step.strengths)
            case "reverberation":
                return perturbations.reverberate(waveform, self._impulse_response(step))
            case "noise":
                return noise.add_noise(waveform, self._noise(step, len(waveform)), strength)
            case "equaliser":
                return perturbations.equalise(waveform, rate, step.strengths)
            case "gain":
                return perturbations.change_gain(waveform, strength)
            case "clipping":
                return perturbations.clip(waveform, strength)
            case "telephone":
                return perturbations.telephone(waveform, rate, strength)
            case "codec":
                return perturbations.codec(waveform, rate, strength, step.source)
            case _:
                raise ValueError(f"{step.kind!r} is no augmentation of waveforms; there are {', '.join(KINDS)}")

    def _impulse_response(self, step: Step) -> np.ndarray:
        if step.source:
            return self._folders["reverberation"].response(step.source, self.sample_rate)
        return perturbations.random_impulse_response(self.sample_rate, step.strengths[0], step.random)

    def _noise(self, step: Step, samples: int) -> np.ndarray:
        if "noise" in self._folders:
            return self._folders["noise"].stretch(step.source, self.sample_rate, samples, step.random)
        if step.source == "white":
            return noise.white(samples, step.random)
        if step.source == "pink":
            return noise.pink(samples, self.sample_rate, step.random)
        if self._others is None:
            assert self._babble is not None  # checked in __init__
            self._others = self._babble()
        return noise.babble(self._others, samples, step.random)
