"""`examine`: every check on every utterance of one or several manifests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from asr.config import Config
from asr.data.doctor import kinds, set_checks
from asr.data.doctor.checker import Checked, Checker
from asr.data.doctor.columns import Columns
from asr.data.doctor.kinds import Finding
from asr.data.doctor.reading import Survey, count_lines, read_tolerantly, survey
from asr.data.doctor.report import ExaminedSet, Report
from asr.data.doctor.workers import Chunk, check_all
from asr.data.manifest import manifest_parts
from asr.data.problems import Problem


def examine(
    train: str | Path,
    dev: str | Path | None = None,
    tests: Sequence[str | Path] = (),
    config: Config | None = None,
    *,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Check a training manifest, and with it those that its model will be chosen and measured on.

    Every recording is decoded to its end. Memory stays at some hundred bytes an utterance and a problem, and half a
    minute of audio a process.

    Args:
        train: a manifest file, its folder, or a local folder of shards; `dev` and `tests` likewise.
        dev: the set that chooses the best epoch.
        tests: sets that measure the result.
        config: decides the sample rate, alphabet, subsampling and longest utterance; None: the defaults.
        jobs: processes. More than one needs `if __name__ == "__main__":` around a script that calls this.
        progress: called with (lines done, lines in all) now and then.

    Raises:
        ManifestError: a manifest is missing or breaks off.
        AsrError: the system killed a checking process.
    """
    started = time.perf_counter()
    config = config or Config()
    named = [(kinds.TRAIN, train), *([("dev", dev)] if dev is not None else [])]
    named += [("test" if number == 1 else f"test-{number}", test) for number, test in enumerate(tests, start=1)]
    sets = [ExaminedSet(name, Path(path), manifest_parts(path)) for name, path in named]
    total = sum(count_lines(examined.parts) for examined in sets)
    transcripts = survey(sets[0].parts, config)
    checker = Checker(config, transcripts.tokenizer(config), transcripts.conventions(config))
    examination = _Examination(sets)
    done = 0
    with closing(check_all(checker, examination.chunks(), jobs)) as results:
        for chunk, checked in results:
            examination.take(chunk, checked)
            done += len(chunk.lines)
            if progress:
                progress(done, total)
    examination.compare(transcripts)
    if progress:
        progress(total, total)
    return Report(
        sets,
        examination.ordered(),
        dict(sorted(transcripts.characters.items())),
        time.perf_counter() - started,
        transcripts.punctuation_note(config),
    )


class _Examination:
    """Findings and columns as they grow."""

    def __init__(self, sets: Sequence[ExaminedSet]):
        self.sets = {examined.name: examined for examined in sets}
        self.columns = {examined.name: Columns(examined.name) for examined in sets}
        self.findings: list[Finding] = []

    def chunks(self) -> Iterator[Chunk]:
        """The utterances of all sets in pieces of work; notes the lines that are none."""
        for name, examined in self.sets.items():
            chunk = Chunk(name)
            for line, item in read_tolerantly(examined.parts):
                if isinstance(item, Problem):
                    self._add(Finding(name, item, line), drop=True)
                elif chunk.add(line, item):
                    yield chunk
                    chunk = Chunk(name)
            if chunk.lines:
                yield chunk

    def take(self, chunk: Chunk, results: list[Checked]) -> None:
        """Note what was found in a chunk."""
        repairs, columns = self.sets[chunk.part].repairs, self.columns[chunk.part]
        for line, utterance, checked in zip(chunk.lines, chunk.utterances, results, strict=True):
            columns.add(line, utterance, checked)
            self.findings += [Finding(chunk.part, problem, line) for problem in checked.problems]
            if checked.lost:
                repairs.dropped[line] = checked.lost
            elif checked.mended:
                repairs.changed[line] = checked.mended

    def compare(self, transcripts: Survey) -> None:
        """The checks of whole sets, and of sets against each other."""
        train, *others = self.columns.values()
        self.findings += set_checks.rare_characters(transcripts)
        for columns in (train, *others):
            examined = self.sets[columns.part]
            examined.utterances, examined.seconds = len(columns.ids), columns.seconds
            if not columns.ids:
                message = "there is nothing in it to train or measure on; is it the right manifest?"
                self.findings.append(columns.set_finding(kinds.EMPTY_SET, message))
                continue
            for finding in set_checks.repeated_ids(columns):
                self._add(finding)
                examined.repairs.repeated_ids.add(finding.line)
            for finding in set_checks.duplicate_audio(columns):
                self._add(finding, drop=columns is train)
            self.findings += set_checks.mixed_rates(columns)
            self.findings += set_checks.unlikely_rates(columns)
        for columns in others:
            outside = sum(f.part == columns.part and f.problem.kind == kinds.OUTSIDE for f in self.findings)
            self.findings += set_checks.alphabet_mismatch(columns, outside)
            self.findings += set_checks.unheard_words(columns, transcripts)
            self.findings += set_checks.shared_speakers(train, columns)
            self.findings += set_checks.shared_sentences(train, columns)
            for finding in set_checks.shared_audio(train, columns):
                self._add(finding, drop=True)
            if columns.part == "dev":
                for finding in set_checks.shared_ids(train, columns):
                    self._add(finding)
                    self.sets[kinds.TRAIN].repairs.repeated_ids.add(finding.line)
            elif "dev" in self.columns:
                for finding in set_checks.shared_audio(self.columns["dev"], columns):
                    self._add(finding, drop=True)

    def _add(self, finding: Finding, drop: bool = False) -> None:
        self.findings.append(finding)
        if drop:
            self.sets[finding.part].repairs.dropped.setdefault(finding.line, finding.problem.kind)

    def ordered(self) -> list[Finding]:
        """By set, errors first, by kind and line."""
        names = list(self.sets)
        return sorted(
            self.findings,
            key=lambda f: (names.index(f.part), f.severity != "error", f.problem.kind, f.line),
        )
