"""One utterance: a stretch of speech in an audio file, and how Lhotse writes it down."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.errors import ManifestError


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
    member: str | None = None
    """Key of the recording inside the tar file `audio` (a Lhotse Shar shard); None: `audio` is the recording."""

    @property
    def whole(self) -> bool:
        """Whether the utterance is all of its recording."""
        return self.start == 0 and self.recording_samples is None

    def to_cut(self) -> dict[str, Any]:
        """The utterance as the dictionary that Lhotse's `MonoCut.to_dict` writes.

        Raises:
            ManifestError: its recording is inside a shard; a manifest points at files.
        """
        if self.member is not None:
            raise ManifestError(
                f"{self.id!r} is in the shard {self.audio}, and a manifest can only point at audio files; "
                "start from the manifest that the shards were made of"
            )
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
    def from_cut(cls, cut: dict[str, Any], shard: Path | None = None) -> Utterance:
        """Read the dictionary of a Lhotse `MonoCut` with at most one supervision and one audio file.

        With `shard`, a tar file, the recording is the member of the cut's id, as Lhotse's Shar format has it.

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
                value.encode()  # half a surrogate pair, which JSON can hold and no file, is a ValueError
            recording = cut["recording"]
            if recording.get("transforms"):
                raise ManifestError("transforms of the recording are not applied; save the cuts as recordings first")
            sources = recording["sources"]
            kind = "file" if shard is None else "shar"
            if len(sources) != 1 or sources[0]["type"] != kind:
                raise ManifestError(f"the recording must have exactly one source, of type {kind!r}")
            channels = sources[0].get("channels") or [0]
            sample_rate, samples = int(recording["sampling_rate"]), int(recording["num_samples"])
            start, duration = float(cut.get("start", 0.0)), float(cut["duration"])
            if sample_rate <= 0:
                raise ValueError(f"sampling_rate {sample_rate}")
            whole = start == 0 and round(duration * sample_rate) == samples
            return cls(
                id=str(cut["id"]),
                audio=shard or Path(sources[0]["source"]),
                duration=duration,
                sample_rate=sample_rate,
                text=supervision.get("text"),
                speaker=supervision.get("speaker"),
                start=start,
                channel=int(cut.get("channel", 0)) if len(channels) > 1 else None,
                recording_samples=None if whole else samples,
                member=None if shard is None else str(cut["id"]),
            )
        except KeyError as error:
            raise ManifestError(f"key {error} is missing from the cut") from None
        except (TypeError, ValueError, OverflowError, AttributeError) as error:
            raise ManifestError(f"a value of the cut has the wrong type: {error}") from None

    @classmethod
    def from_line(cls, line: str, folder: Path, shard: Path | None = None) -> Utterance:
        """Read one line of a manifest; relative audio paths are taken from `folder`.

        Raises:
            ManifestError: not JSON, not a usable cut, or not a stretch of audio.
        """
        try:
            cut = json.loads(line)
        except json.JSONDecodeError as error:
            raise ManifestError(f"not JSON ({error.msg} at column {error.colno}): {line.strip()[:60]!r}") from None
        if not isinstance(cut, dict):
            raise ManifestError(f"expected a JSON object, found {type(cut).__name__}")
        utterance = cls.from_cut(cut, shard)
        if not 0 < utterance.duration < math.inf or not 0 <= utterance.start < math.inf:
            raise ManifestError(
                f"utterance {utterance.id!r}: start {utterance.start} s and duration {utterance.duration} s "
                "do not describe a stretch of audio"
            )
        if not utterance.audio.is_absolute():
            object.__setattr__(utterance, "audio", folder / utterance.audio)
        return utterance
