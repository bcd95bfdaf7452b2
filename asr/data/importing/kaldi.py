"""Kaldi data directories: wav.scp, text, utt2spk and, where utterances are parts of recordings, segments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from asr.data.importing.entries import AudioRoot, Entry, Found, Options, Unusable, make_entry, source_lines
from asr.data.importing.pipes import NotADecoder, decoded_file
from asr.data.problems import Problem
from asr.errors import ManifestError

RECORDINGS, SEGMENTS, TEXT, SPEAKERS = "wav.scp", "segments", "text", "utt2spk"
TO_THE_END = ("-1", "-1.0")
"""The end time that means the end of the recording."""


def read(source: Path, options: Options) -> Iterator[Found]:
    """The utterances of `segments`, or of `wav.scp` where there is none.

    A wav.scp entry that is a command is never run: the file behind a plain decoder is taken (see
    `asr.data.importing.pipes`), any other command is reported. A speaker with the id of the utterance means, as Kaldi
    advises, that the speaker is not known.
    """
    for name in (RECORDINGS, TEXT):
        if not (source / name).is_file():
            raise ManifestError(f"{source}: no {name}; give a Kaldi data directory, such as data/train of a recipe")
    return _DataDirectory(source, options).found()


class _DataDirectory:
    def __init__(self, source: Path, options: Options):
        self.source, self.encoding = source, options.encoding
        self.root = AudioRoot(options.audio_root or source)
        self.repeated: list[Problem] = []
        self.texts = self.mapping(TEXT)
        self.speakers = self.mapping(SPEAKERS) if (source / SPEAKERS).is_file() else {}
        self.listed: set[str] = set()

    def found(self) -> Iterator[Found]:
        listing = SEGMENTS if (self.source / SEGMENTS).is_file() else RECORDINGS
        recordings = self.mapping(RECORDINGS) if listing == SEGMENTS else {}
        yield from self.repeated
        for number, id_, rest in self.lines(listing):
            where = f"{id_} ({listing}, line {number})"
            self.listed.add(id_)
            try:
                if listing == SEGMENTS:
                    yield self.segment(where, id_, rest, recordings)
                else:
                    yield self.entry(where, id_, rest)
            except Unusable as unusable:
                yield unusable.problem
        for id_, (number, _) in self.texts.items():
            if id_ not in self.listed:
                yield Problem(f"{id_} ({TEXT}, line {number})", "missing audio", f"not in {listing}; add it there")

    def segment(self, where: str, id_: str, rest: str, recordings: dict[str, tuple[int, str]]) -> Entry:
        fields = rest.split()
        if len(fields) not in (3, 4):
            expected = "expected `UTTERANCE RECORDING START END [CHANNEL]`"
            raise Unusable(where, "wrong number of fields", f"{len(fields) + 1} fields; {expected}")
        recording, start, end, *channel = fields
        if recording not in recordings:
            raise Unusable(where, "missing audio", f"recording {recording!r} is not in {RECORDINGS}; add it there")
        until = None if end in TO_THE_END else end
        audio = recordings[recording][1]
        return self.entry(where, id_, audio, start=start, end=until, channel=channel[0] if channel else None)

    def entry(
        self,
        where: str,
        id_: str,
        audio: str,
        start: str | None = None,
        end: str | None = None,
        channel: str | int | None = None,
    ) -> Entry:
        if id_ not in self.texts:
            raise Unusable(where, "no transcript", f"not in {TEXT}; add it there")
        if audio.endswith("|"):
            try:
                audio, taken = decoded_file(audio[:-1])
            except NotADecoder as reason:
                raise Unusable(
                    where,
                    "audio from a command",
                    f"commands are not run, and this one does not stand for a file, because {reason}; write its output "
                    f"to a file, as `{audio[:-1].strip()} > {id_}.wav` does, and name that file",
                ) from None
            channel = taken if channel is None else channel
        speaker = self.speakers.get(id_, (0, id_))[1]
        values = {"id": id_, "audio": audio, "start": start, "end": end, "channel": channel}
        values |= {"text": self.texts[id_][1], "speaker": None if speaker == id_ else speaker}
        return make_entry(where, values, self.root)

    def mapping(self, name: str) -> dict[str, tuple[int, str]]:
        """First field -> (line, rest). The first of a repeated one counts."""
        found: dict[str, tuple[int, str]] = {}
        for number, key, rest in self.lines(name):
            first, _ = found.setdefault(key, (number, rest))
            if first != number:
                where = f"{key} ({name}, line {number})"
                self.repeated.append(Problem(where, "repeated id", f"line {first} is used; remove one of the two"))
        return found

    def lines(self, name: str) -> Iterator[tuple[int, str, str]]:
        """Line number, first field and the rest."""
        for number, line in source_lines(self.source / name, self.encoding):
            fields = line.split(maxsplit=1)
            if fields:
                yield number, fields[0], fields[1].strip() if len(fields) > 1 else ""
