"""Manifests: Lhotse cuts as JSON lines, one utterance a line; what training, evaluation and transcription read."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.errors import ManifestError
from asr.files import replacing

MANIFEST_NAMES = ("cuts.jsonl", "cuts.jsonl.gz")


@dataclass(frozen=True, slots=True)
class Utterance:
    """One stretch of speech in one audio file. Times in seconds; `text` is None where no transcript is known."""

    id: str
    audio: Path
    duration: float
    sample_rate: int
    text: str | None = None
    speaker: str | None = None
    start: float = 0.0
    channel: int | None = None
    """Which channel to read; None mixes all channels to mono."""
    recording_samples: int | None = None
    """Samples in the whole recording, which Lhotse wants; None: the utterance is the whole recording."""

    @property
    def whole(self) -> bool:
        """Whether the utterance is all of its recording."""
        return self.start == 0 and self.recording_samples is None

    def to_cut(self) -> dict[str, Any]:
        """The utterance as the dictionary that Lhotse's `MonoCut.to_dict` writes."""
        samples = self.recording_samples
        if samples is None:
            samples = round((self.start + self.duration) * self.sample_rate)
        recording_id = self.id if self.whole else self.audio.stem
        channel = self.channel or 0
        # One channel of several: the list must have them, or a reader cannot tell it from a mono recording.
        channels = [0] if self.channel is None else list(range(max(2, channel + 1)))
        supervision = {
            "id": self.id,
            "recording_id": recording_id,
            "start": 0.0,
            "duration": self.duration,
            "channel": channel,
        }
        if self.text is not None:
            supervision["text"] = self.text
        if self.speaker is not None:
            supervision["speaker"] = self.speaker
        return {
            "id": self.id,
            "start": self.start,
            "duration": self.duration,
            "channel": channel,
            "supervisions": [supervision] if self.text is not None or self.speaker is not None else [],
            "recording": {
                "id": recording_id,
                "sources": [{"type": "file", "channels": channels, "source": str(self.audio)}],
                "sampling_rate": self.sample_rate,
                "num_samples": samples,
                "duration": samples / self.sample_rate,
            },
            "type": "MonoCut",
        }

    @classmethod
    def from_cut(cls, cut: dict[str, Any]) -> Utterance:
        """Read the dictionary of a Lhotse `MonoCut` with at most one supervision and one audio file.

        Raises:
            ManifestError: another kind of cut, or a key is missing.
        """
        kind = cut.get("type", "MonoCut")
        if kind != "MonoCut":
            raise ManifestError(f"a {kind!r} cannot be read, only MonoCut; save the cuts as recordings first")
        try:
            supervisions = list(cut.get("supervisions") or [])
            if len(supervisions) > 1:
                raise ManifestError(
                    f"{len(supervisions)} supervisions in one cut; split it with Lhotse's `cuts.trim_to_supervisions()`"
                )
            supervision = dict(supervisions[0]) if supervisions else {}
            for key, value in {"id": cut["id"], **{k: supervision.get(k) or "" for k in ("text", "speaker")}}.items():
                if not isinstance(value, str):
                    raise TypeError(f"{key} is {value!r}, not a string")
            recording = cut["recording"]
            if recording.get("transforms"):
                raise ManifestError("transforms of the recording are not applied; save the cuts as recordings first")
            sources = recording["sources"]
            if len(sources) != 1 or sources[0]["type"] != "file":
                raise ManifestError("the recording must have exactly one source, of type 'file'")
            channels = sources[0].get("channels") or [0]
            sample_rate, samples = int(recording["sampling_rate"]), int(recording["num_samples"])
            start, duration = float(cut.get("start", 0.0)), float(cut["duration"])
            if sample_rate <= 0:
                raise ValueError(f"sampling_rate {sample_rate}")
            whole = start == 0 and round(duration * sample_rate) == samples
            return cls(
                id=str(cut["id"]),
                audio=Path(sources[0]["source"]),
                duration=duration,
                sample_rate=sample_rate,
                text=supervision.get("text"),
                speaker=supervision.get("speaker"),
                start=start,
                channel=int(cut.get("channel", 0)) if len(channels) > 1 else None,
                recording_samples=None if whole else samples,
            )
        except KeyError as error:
            raise ManifestError(f"key {error} is missing from the cut") from None
        except (TypeError, ValueError, OverflowError, AttributeError) as error:
            raise ManifestError(f"a value of the cut has the wrong type: {error}") from None


def manifest_path(path: str | Path) -> Path:
    """The manifest file behind `path`: the file itself, or `cuts.jsonl[.gz]` in that folder.

    Raises:
        ManifestError: there is none.
    """
    path = Path(path)
    if path.is_dir():
        for name in MANIFEST_NAMES:
            if (path / name).is_file():
                return path / name
        raise ManifestError(f"{path}: the folder holds no {' or '.join(MANIFEST_NAMES)}; `asr prepare` writes one")
    if not path.is_file():
        raise ManifestError(f"{path}: no such manifest; give a .jsonl file or a folder written by `asr prepare`")
    return path


def read_manifest(path: str | Path) -> Iterator[Utterance]:
    """Yield the utterances of a manifest in file order, without holding it in memory.

    Relative audio paths are taken from the manifest's own folder.

    Raises:
        ManifestError: with file and line, for a line that is not JSON, not a usable cut, or repeats an id.
    """
    path = manifest_path(path)
    opener = gzip.open if path.suffix == ".gz" else open
    seen: dict[str, int] = {}
    with opener(path, "rt", encoding="utf-8-sig") as lines:
        number = 0
        try:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                utterance = _parse(line)
                first = seen.setdefault(utterance.id, number)
                if first != number:
                    raise ManifestError(f"id {utterance.id!r} stands on line {first} already; ids must be unique")
                if not utterance.audio.is_absolute():
                    object.__setattr__(utterance, "audio", path.parent / utterance.audio)
                yield utterance
        except ManifestError as error:
            raise ManifestError(f"{path}, line {number}: {error}") from None
        except UnicodeDecodeError as error:
            raise ManifestError(f"{path}, after line {number}: not UTF-8 text ({error.reason})") from None
        except (OSError, EOFError, zlib.error) as error:
            raise ManifestError(f"{path}, after line {number}: {error}") from None


def _parse(line: str) -> Utterance:
    try:
        cut = json.loads(line)
    except json.JSONDecodeError as error:
        raise ManifestError(f"not JSON ({error.msg} at column {error.colno}): {line.strip()[:60]!r}") from None
    if not isinstance(cut, dict):
        raise ManifestError(f"expected a JSON object, found {type(cut).__name__}")
    utterance = Utterance.from_cut(cut)
    if not 0 < utterance.duration < math.inf or not 0 <= utterance.start < math.inf:
        raise ManifestError(
            f"utterance {utterance.id!r}: start {utterance.start} s and duration {utterance.duration} s "
            "do not describe a stretch of audio"
        )
    return utterance


def write_manifest(path: str | Path, utterances: Iterable[Utterance]) -> int:
    """Write utterances to `path` (a `.jsonl` or `.jsonl.gz` file) atomically; returns how many.

    Raises:
        ManifestError: an id repeats, or the file cannot be written; then nothing is left behind.
    """
    path = Path(path)
    opener = gzip.open if path.suffix == ".gz" else open
    seen: set[str] = set()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, opener(partial, "wt", encoding="utf-8") as out:
            for utterance in utterances:
                if utterance.id in seen:
                    raise ManifestError(f"{path}: id {utterance.id!r} occurs twice; ids must be unique")
                seen.add(utterance.id)
                out.write(json.dumps(utterance.to_cut(), ensure_ascii=False) + "\n")
    except OSError as error:
        raise ManifestError(f"{path}: cannot be written ({error.strerror or error})") from error
    return len(seen)
