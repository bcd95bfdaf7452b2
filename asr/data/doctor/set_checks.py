"""What only a whole set, or several, can show: duplicates, leaks between sets, mixed rates, unlikely speaking rates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np

from asr.data.doctor import kinds
from asr.data.doctor.columns import Columns
from asr.data.doctor.kinds import Finding
from asr.data.doctor.reading import Survey
from asr.data.doctor.text_checks import leftover_classes, shown
from asr.data.problems import Problem

RATE_GROUP = 30
"""Fewest utterances of about the same length that tell what rate is normal for them."""
RATE_DEVIATIONS = 5.0
"""Robust standard deviations of the logarithm of the rate ..."""
RATE_FACTOR = 2.5
"""... and at least this factor from the median. Of 6,700 utterances of AN4, FSDD and LibriSpeech none is that far out,
of LibriSpeech utterances that lost two thirds of their transcript most are."""
OCTAVE_FACTOR = 1.5
"""Among sentences the rate hardly changes with the length; among single words it halves with each octave."""
FASTEST = 30.0
"""Characters a second. Auctioneers and rap reach 25; a single short word cut closely is not judged."""
FASTEST_CHARACTERS = 10
SLOWEST = 0.5
"""Characters a second, in an utterance of `SLOWEST_SECONDS` or more: most of it is not transcribed."""
SLOWEST_SECONDS = 10.0
LONG_SENTENCE = 5
"""Words. Shorter sentences recur by chance: commands, digits, greetings."""
SENTENCE_SHARE = 0.05
"""Fewer shared sentences than this cannot move a word error rate much."""
OVERLAP_SECONDS = 0.1
"""Segments of one recording that share less are neighbours."""
RARE_UTTERANCES = 3
"""A character in fewer utterances than this cannot be learnt, and is often a slip."""
ENOUGH_UTTERANCES = 300
"""In smaller sets q and z are rare too."""
MISMATCH_SHARE = 0.05
MISMATCH_UTTERANCES = 3
"""In a dev or test set, and this share of it. A few foreign names are normal; more means that the sets are written in
different ways."""


def rare_characters(survey: Survey) -> Iterator[Finding]:
    """Characters that hardly any training transcript has, each under the first utterance with it."""
    if survey.transcripts < ENOUGH_UTTERANCES:
        return
    for character, count in sorted(survey.characters.items()):
        if count < RARE_UTTERANCES and character.isprintable() and not leftover_classes(character):
            examples = survey.examples[character]
            message = (
                f"{shown(character)} is in {count} of {survey.transcripts} transcripts ({', '.join(examples)}), too "
                "few to be learnt; correct a slip, or spell it otherwise"
            )
            yield Finding(kinds.TRAIN, Problem(examples[0], kinds.RARE_CHARACTER, message))


def alphabet_mismatch(columns: Columns, outside: int) -> Iterator[Finding]:
    """`outside` utterances of a dev or test set have characters that the training set lacks."""
    if outside >= MISMATCH_UTTERANCES and outside > MISMATCH_SHARE * len(columns.ids):
        message = (
            f"{outside} of {len(columns.ids)} utterances have characters that the model cannot write; normalise the "
            "transcripts of all sets in the same way"
        )
        yield columns.set_finding(kinds.ALPHABET_MISMATCH, message)


def unheard_words(columns: Columns, survey: Survey) -> Iterator[Finding]:
    """Words of a dev or test set that a model of phones cannot write by itself, as training never spelt them."""
    unheard = {word: count for word, count in columns.unheard.items() if word not in survey.words}
    if unheard:
        first = min(unheard, key=lambda word: (-unheard[word], word))
        message = (
            f"{sum(unheard.values())} of {sum(columns.words)} words ({len(unheard)} different, such as {first!r}) are "
            "in no training transcript: greedy decoding cannot write them, beam search with --lm and --lexicon can"
        )
        yield columns.set_finding(kinds.UNHEARD_WORDS, message)


def repeated_ids(columns: Columns) -> Iterator[Finding]:
    """Ids that stand in the manifest before; every use but the first."""
    seen: dict[str, int] = {}
    for index, identifier in enumerate(columns.ids):
        first = seen.setdefault(identifier, index)
        if first != index:
            message = f"line {columns.lines[index]}, stands on line {columns.lines[first]} already; give it another id"
            yield columns.finding(index, kinds.DUPLICATE_ID, message)


def shared_ids(train: Columns, dev: Columns) -> Iterator[Finding]:
    """Ids of training utterances that dev utterances have too: `asr train` refuses them."""
    taken = set(dev.ids)
    for index, identifier in enumerate(train.ids):
        if identifier in taken:
            message = "a dev utterance has this id too; if they are one, split the data again, else rename one"
            yield train.finding(index, kinds.SHARED_ID, message)


def duplicate_audio(columns: Columns) -> Iterator[Finding]:
    """Utterances with the same samples: repeats of the first, or all of them when their transcripts differ."""
    content, text = np.array(columns.content, np.uint64), np.array(columns.text, np.uint64)
    values, counts = np.unique(content[content > 0], return_counts=True)
    groups: dict[int, list[int]] = {int(value): [] for value in values[counts > 1]}
    for index in np.flatnonzero(np.isin(content, list(groups))).tolist() if groups else []:
        groups[int(content[index])].append(index)
    for group in groups.values():
        if len(np.unique(text[group])) > 1:
            for index in group:
                other = next(i for i in group if text[i] != text[index])
                message = f"{columns.ids[other]} has the same audio and another text; listen, and drop what is wrong"
                yield columns.finding(index, kinds.CONTRADICTION, message)
        else:
            for index in group[1:]:
                message = f"the same audio as {columns.ids[group[0]]}; drop one of them"
                yield columns.finding(index, kinds.DUPLICATE_AUDIO, message)


def shared_audio(columns: Columns, kept: Columns) -> Iterator[Finding]:
    """Utterances whose samples, or whose stretch of a recording, are in the set `kept` too."""
    remedy = f"drop it here, or split the data again: {kept.part} must be new to the model"
    theirs = {content: index for index, content in enumerate(kept.content) if content}
    segments: dict[int, list[int]] = {}
    for index, recording in enumerate(kept.recording):
        if recording:
            segments.setdefault(recording, []).append(index)
    for index, content in enumerate(columns.content):
        if content in theirs:
            message = f"the same audio as {kept.part} utterance {kept.ids[theirs[content]]}; {remedy}"
            yield columns.finding(index, kinds.AUDIO_LEAK, message)
            continue
        for other in segments.get(columns.recording[index], []):
            begin = max(columns.start[index], kept.start[other])
            if min(columns.end(index), kept.end(other)) - begin > OVERLAP_SECONDS:
                message = f"overlaps {kept.part} utterance {kept.ids[other]} in the same recording; {remedy}"
                yield columns.finding(index, kinds.AUDIO_LEAK, message)
                break


def shared_speakers(train: Columns, other: Columns) -> Iterator[Finding]:
    """Speakers of `other` whom the model has heard."""
    shared = sorted(train.speakers & other.speakers)
    if shared:
        names = ", ".join(shared[:5]) + (f" and {len(shared) - 5} more" if len(shared) > 5 else "")
        message = (
            f"{len(shared)} of {len(other.speakers)} speakers are in {train.part} too ({names}); the WER will be too "
            "good for new voices: split by speaker, unless known voices are what you measure"
        )
        yield other.set_finding(kinds.SPEAKER_LEAK, message)


def shared_sentences(train: Columns, other: Columns) -> Iterator[Finding]:
    """How many utterances of `other` say a sentence that the model has been taught."""
    taught = set(train.text)
    candidates = [i for i, words in enumerate(other.words) if words >= LONG_SENTENCE]
    shared = [i for i in candidates if other.text[i] in taught]
    if len(shared) > SENTENCE_SHARE * len(other.ids):
        message = (
            f"{len(shared)} of {len(other.ids)} utterances ({other.ids[shared[0]]}, ...) say a sentence of "
            f"{LONG_SENTENCE} words or more that {train.part} has too; the WER will be too good for new sentences: "
            "split by sentence, unless everyone reads the same prompts by design"
        )
        yield other.set_finding(kinds.SENTENCE_LEAK, message)


def mixed_rates(columns: Columns) -> Iterator[Finding]:
    """More than one sample rate in the set."""
    counts = Counter(rate for rate in columns.rate if rate)
    if len(counts) > 1:
        said = []
        for rate, count in counts.most_common():
            first = columns.ids[columns.rate.index(rate)]
            said.append(f"{count} at {rate} Hz ({first}{', ...' if count > 1 else ''})")
        message = (
            f"{'; '.join(said)}. All are resampled to features.sample_rate; if the rates go with speakers or sets, the "
            "model learns the channel: record alike, or take the lowest rate"
        )
        yield columns.set_finding(kinds.MIXED_RATES, message)


def unlikely_rates(columns: Columns) -> Iterator[Finding]:
    """Transcripts that are too long or too short for their audio.

    Against bounds for any speech, and against the utterances of about the same length (an octave of seconds), for
    short ones have a larger share of pauses, and scripts and corpora differ. Where those are too few, the nearest
    octave with enough stands in, and `OCTAVE_FACTOR` comes on top for each octave of distance.
    """
    characters, seconds = np.array(columns.characters), np.array(columns.duration)
    usable = (characters > 0) & (np.array(columns.rate) > 0)
    rates = np.maximum(characters, 1) / seconds
    octaves = np.floor(np.log2(seconds)).astype(int)
    usual, spread = _usual_rates(np.log(rates), octaves, usable)
    far = np.zeros(len(rates), bool)
    medians = np.full(len(rates), np.nan)
    for octave in np.unique(octaves) if usual else []:
        nearest = min(usual, key=lambda known: abs(known - octave))
        members = octaves == octave
        limit = max(RATE_DEVIATIONS * spread[nearest], math.log(RATE_FACTOR * OCTAVE_FACTOR ** abs(nearest - octave)))
        far[members] = np.abs(np.log(rates[members]) - usual[nearest]) > limit
        medians[members] = math.exp(usual[nearest])
    fast = (rates > FASTEST) & (characters >= FASTEST_CHARACTERS)
    slow = (rates < SLOWEST) & (seconds >= SLOWEST_SECONDS)
    for index in np.flatnonzero((far | fast | slow) & usable).tolist():
        told = f", where {medians[index]:.1f} a second are usual" if usual else ""
        message = (
            f"{characters[index]} characters in {seconds[index]:.2f} s, {rates[index]:.1f} a second{told}; listen "
            "whether transcript and audio belong together and both are complete"
        )
        yield columns.finding(index, kinds.SPEAKING_RATE, message)


def _usual_rates(
    log_rates: np.ndarray, octaves: np.ndarray, usable: np.ndarray
) -> tuple[dict[int, float], dict[int, float]]:
    """Median of the logarithm of the rate and its robust standard deviation, by octave with enough utterances."""
    usual, spread = {}, {}
    for octave, count in zip(*np.unique(octaves[usable], return_counts=True), strict=True):
        if count >= RATE_GROUP:
            values = log_rates[usable & (octaves == octave)]
            usual[int(octave)] = float(np.median(values))
            # 1.4826: for a normal distribution this is its standard deviation
            spread[int(octave)] = 1.4826 * float(np.median(np.abs(values - np.median(values))))
    return usual, spread
