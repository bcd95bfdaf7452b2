"""Free Spoken Digit Dataset (FSDD): isolated digits of six people at 8 kHz, joined here into digit strings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile

from asr.audio import load_audio
from asr.data.corpora.common import UNPACK_AGAIN, Archive, corpus_root, fetch, recording
from asr.data.manifest import write_manifest
from asr.data.utterance import Utterance
from asr.errors import AudioError, CorpusError
from asr.files import replacing

COMMIT = "d6938f9bf1545aa66d8489fc9f1385a7abd64282"
"""Tag v1.0.10, which has all six speakers. The commit names the content. GitHub makes the archive anew and does not
promise the same bytes, so there is no checksum of the archive: zip's own checksums and the complete grid of recordings
are verified instead."""
URL = f"https://github.com/Jakobovski/free-spoken-digit-dataset/archive/{COMMIT}.zip"

SAMPLE_RATE = 8000
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
WORDS = tuple("0123456789")
"""Transcripts are figures: with one token a word, none is too long for its recording, and no digit is misspelt."""
TAKES = range(50)
TEST_TAKES = range(0, 5)
"""The official split: takes 0-4 test, 5-49 train; dev is the last five of train."""
TRAIN_TAKES = range(5, 45)
DEV_TAKES = range(45, 50)

TEST_STRINGS = 600
STRING_LENGTHS = range(1, 8)
STRING_LENGTH_SHARES = (0.52, 0.08, 0.08, 0.08, 0.08, 0.08, 0.08)
"""Shares of train and dev strings with 1 to 7 digits: isolated digits are what the official test asks for, and longer
strings hold more digits each, so half the strings are a single one."""
TEST_STRING_LENGTHS = range(3, 8)
MAX_GAP_SECONDS = 0.3
TIGHT_SHARE = 0.5
"""Share of strings without silence before the first and after the last digit, as the corpus's recordings are cut."""
MAX_GAIN_DB = 2.0
TRIM_DB = (-40.0, -10.0)
"""Below the loudest 10 ms of a recording: trimming leaves out what is softer before and after all that is louder."""
TRIMMED_SECONDS = 0.2
"""What would become shorter is not trimmed."""
FADE_SECONDS = 0.004
"""Digits fade in and out this fast where they meet a gap or each other: no click, and no phone is lost."""

Recording = tuple[str, int, int]
"""Speaker, digit, take: what a file name of the corpus says."""


def download(output: Path) -> Path:
    """Download and unpack the official archive into `output`; returns the corpus folder. Goes on where it stopped.

    Raises:
        CorpusError: the download failed, or the archive does not hold all 3,000 recordings.
    """
    root = _root(fetch([Archive(URL, holds=f"free-spoken-digit-dataset-{COMMIT}/recordings")], output))
    _check_complete(root)
    return root


def prepare(
    source: Path,
    output: Path,
    *,
    seed: int = 0,
    held_out_speaker: str | None = None,
    strings: int = 4000,
    trimmed: float = 0.0,
) -> dict[str, Path]:
    """Join digits into strings, write them as 8 kHz 16-bit WAV under `output/wav`, and write the manifests.

    Parts:
        train: `strings` strings of 1-7 digits, each of one speaker, from takes 5-44.
        dev: a tenth as many from takes 45-49.
        test: the official test, 300 isolated digits (takes 0-4), read where they lie.
        test_strings: 600 strings of 3-7 digits, equally often, from takes 0-4. They reuse each recording about ten
            times, so their errors are less independent than their number says.

    With `held_out_speaker`, train and dev are of the other five; test is all 500 recordings of the one held out, and
    test_strings are made of these.

    A speaker's recordings are dealt like a pack of cards, shuffled again when used up, so all are used equally often.
    Gaps are 0-0.3 s of noise at the level of the recording's quietest 10 ms; gains vary by up to 2 dB.
    The same seed gives the same files.

    Args:
        source: the unpacked official archive (the folder that holds `recordings`), or its parent.
        output: where audio and `PART/cuts.jsonl` go. Existing files of an earlier call are replaced.
        seed: of the random choices.
        held_out_speaker: one of `SPEAKERS`, or None for the official split.
        strings: how many training strings.
        trimmed: share of the recordings in these whose soft beginning and end are cut off: the corpus was cut by level,
            and where the microphone was noisy or far the last sounds are missing (nicolas and yweweler say "si" for
            six), which those who were recorded better do not teach.

    Returns:
        The manifest of each part.

    Raises:
        CorpusError: recordings are missing or unreadable, the speaker is unknown, or nothing can be written.
    """
    if held_out_speaker is not None and held_out_speaker not in SPEAKERS:
        raise CorpusError(
            f"held_out_speaker {held_out_speaker!r} is not in the corpus; choose of {', '.join(SPEAKERS)}"
        )
    if strings < 1:
        raise CorpusError(f"strings must be at least 1, not {strings}")
    if not 0 <= trimmed <= 1:
        raise CorpusError(f"trimmed is a share from 0 to 1, not {trimmed}")
    root, output = _root(Path(source)), Path(output)
    _check_complete(root)
    speakers = [speaker for speaker in SPEAKERS if speaker != held_out_speaker]
    test_speakers = SPEAKERS if held_out_speaker is None else (held_out_speaker,)
    test_takes = TEST_TAKES if held_out_speaker is None else TAKES

    manifests = {part: output / part / "cuts.jsonl" for part in ("train", "dev", "test", "test_strings")}
    for manifest in manifests.values():  # an interrupted call must not leave an old manifest on top of new audio
        manifest.unlink(missing_ok=True)
    dev_strings = max(1, strings // 10)
    test_shares = [1 / len(TEST_STRING_LENGTHS) if n in TEST_STRING_LENGTHS else 0.0 for n in STRING_LENGTHS]
    for index, (part, count, who, takes, shares) in enumerate(
        (
            ("train", strings, speakers, TRAIN_TAKES, STRING_LENGTH_SHARES),
            ("dev", dev_strings, speakers, DEV_TAKES, STRING_LENGTH_SHARES),
            ("test_strings", TEST_STRINGS, test_speakers, test_takes, test_shares),
        )
    ):
        rng = np.random.default_rng([seed, index])
        plan = plan_strings(who, takes, count, shares, rng)
        folder, share = (output / "wav" / part).absolute(), trimmed if part == "train" else 0.0
        write_manifest(manifests[part], _write_strings(root, folder, part, plan, rng, share))
    write_manifest(manifests["test"], _isolated(root, test_speakers, test_takes))
    return manifests


def plan_strings(
    speakers: Sequence[str], takes: Sequence[int], count: int, shares: Sequence[float], rng: np.random.Generator
) -> list[list[Recording]]:
    """Which recordings make up each of `count` strings: one speaker a string, in turn; `shares[n - 1]` of length n."""
    packs = {speaker: _deal(speaker, takes, rng) for speaker in speakers}
    lengths = rng.choice(np.arange(1, len(shares) + 1), size=count, p=np.asarray(shares) / sum(shares))
    return [[next(packs[speakers[i % len(speakers)]]) for _ in range(length)] for i, length in enumerate(lengths)]


def join_digits(digits: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """One waveform out of several.

    Args:
        digits: waveforms at 8 kHz, each `[samples]`, float32.
        rng: draws gaps, gains and noise.

    Returns:
        `[samples]` float32 within -1..1, with 0-0.3 s of low noise between the digits and, mostly, around them.
    """
    # Some microphones have an offset, and a gap without it would jump.
    offset = float(np.mean([digit.mean() for digit in digits]))
    level = min(_noise_level(digit) for digit in digits)

    def gap() -> np.ndarray:
        samples = int(rng.uniform(0.0, MAX_GAP_SECONDS) * SAMPLE_RATE)
        return (offset + level * rng.standard_normal(samples)).astype(np.float32)

    tight = rng.random() < TIGHT_SHARE
    pieces = [] if tight else [gap()]
    for index, digit in enumerate(digits):
        gain = 10 ** (rng.uniform(-MAX_GAIN_DB, MAX_GAIN_DB) / 20)
        first, last = index == 0, index == len(digits) - 1
        if not first:
            pieces.append(gap())
        pieces.append(_fade(gain * digit, fade_in=not (first and tight), fade_out=not (last and tight)))
    if not tight:
        pieces.append(gap())
    waveform = np.concatenate(pieces).astype(np.float32)
    peak = float(np.abs(waveform).max())
    return waveform if peak <= 0.99 else waveform * (0.99 / peak)


def trim(digit: np.ndarray, below_db: float) -> np.ndarray:
    """A waveform `[samples]` from its first to its last 10 ms that are not `below_db` (< 0) beneath its loudest.

    Where 0.2 s would not be left it stays as it is.
    """
    frame = SAMPLE_RATE // 100
    power = digit[: len(digit) // frame * frame].reshape(-1, frame).var(axis=1)  # some microphones have an offset
    loud = np.flatnonzero(power > power.max(initial=0.0) * 10 ** (below_db / 10))
    kept = digit[loud[0] * frame : (loud[-1] + 1) * frame] if len(loud) else digit
    return kept if len(kept) >= TRIMMED_SECONDS * SAMPLE_RATE else digit


def _fade(digit: np.ndarray, *, fade_in: bool, fade_out: bool) -> np.ndarray:
    digit = digit.copy()
    ramp = np.linspace(0.0, 1.0, min(int(FADE_SECONDS * SAMPLE_RATE), len(digit)), dtype=np.float32)
    if fade_in:
        digit[: len(ramp)] *= ramp
    if fade_out:
        digit[len(digit) - len(ramp) :] *= ramp[::-1]
    return digit


def _noise_level(digit: np.ndarray) -> float:
    frame = SAMPLE_RATE // 100
    if len(digit) < frame:
        return 0.0
    frames = digit[: len(digit) // frame * frame].reshape(-1, frame)
    return float(frames.std(axis=1).min())


def _deal(speaker: str, takes: Sequence[int], rng: np.random.Generator) -> Iterator[Recording]:
    pack = [(speaker, digit, take) for digit in range(10) for take in takes]
    while True:
        for index in rng.permutation(len(pack)):
            yield pack[index]


def _write_strings(
    root: Path, folder: Path, part: str, plan: list[list[Recording]], rng: np.random.Generator, trimmed: float
) -> Iterator[Utterance]:
    waveforms: dict[Recording, np.ndarray] = {}

    def spoken_as(recording: Recording) -> np.ndarray:
        digit = waveforms[recording]
        # Nothing is drawn where nothing is trimmed: the strings of a seed stay what they were.
        return trim(digit, rng.uniform(*TRIM_DB)) if trimmed and rng.random() < trimmed else digit

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for index, recordings in enumerate(plan):
            for spoken in recordings:
                if spoken not in waveforms:
                    waveforms[spoken] = _load(_path(root, spoken))
            waveform = join_digits([spoken_as(spoken) for spoken in recordings], rng)
            speaker = recordings[0][0]
            path = folder / f"{part}-{index:05d}-{speaker}.wav"
            with replacing(path) as partial:
                soundfile.write(partial, waveform, SAMPLE_RATE, subtype="PCM_16", format="WAV")
            yield Utterance(
                id=path.stem,
                audio=path,
                duration=len(waveform) / SAMPLE_RATE,
                sample_rate=SAMPLE_RATE,
                text=" ".join(WORDS[digit] for _, digit, _ in recordings),
                speaker=speaker,
            )
    except (OSError, soundfile.SoundFileError) as error:
        raise CorpusError(
            f"{folder}: cannot be written ({error}); make room or choose another output folder"
        ) from error


def _isolated(root: Path, speakers: Sequence[str], takes: Sequence[int]) -> Iterator[Utterance]:
    for speaker in speakers:
        for digit, word in enumerate(WORDS):
            for take in takes:
                path = _path(root, (speaker, digit, take))
                yield recording(path, id=path.stem, text=word, speaker=speaker)


def _load(path: Path) -> np.ndarray:
    try:
        return load_audio(path, SAMPLE_RATE)
    except AudioError as error:
        raise CorpusError(f"{error}; {UNPACK_AGAIN}") from error


def _path(root: Path, spoken: Recording) -> Path:
    speaker, digit, take = spoken
    return root / "recordings" / f"{digit}_{speaker}_{take}.wav"


def _root(source: Path) -> Path:
    return corpus_root(source, "Free Spoken Digit Dataset", "recordings", ["free-spoken-digit-dataset*"])


def _check_complete(root: Path) -> None:
    present = {path.name for path in (root / "recordings").iterdir()}
    wanted = (_path(root, (speaker, digit, take)) for speaker in SPEAKERS for digit in range(10) for take in TAKES)
    missing = [path for path in wanted if path.name not in present]
    if missing:
        raise CorpusError(
            f"{missing[0]}: no such recording; {len(missing)} of the 3,000 are missing. "
            f"The copy is incomplete or older than v1.0.10; unpack the official archive ({URL}) again"
        )
