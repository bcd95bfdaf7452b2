"""What stands out in a score and what to do about it: a sentence each, with its figure, where errors suffice."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from asr.scoring.alignment import Alignment, operation
from asr.scoring.breakdown import by_label
from asr.scoring.error_rates import Score, UtteranceScore

FEWEST_ERRORS = 20
"""Fewer errors than this show no pattern, and there is no advice."""
SHARE = 0.1
"""Of the errors that empty hypotheses, or words written together or apart, must make to be told."""
NEARLY_ALL = 0.9
"""Of the utterances with words: where so many came out empty, it is not the recordings' fault."""
LOPSIDED = 0.6
"""Share of the errors that deletions, or insertions, must make."""
FEW_UTTERANCES = 0.05
"""Share of the utterances in which half of the errors are..."""
BAD_UTTERANCE = 4
"""... with this many errors in each of them at least, in half of their words."""
WORDS, WORDS_SHARE, WORD_ERRORS = 5, 0.25, 3
"""At most so many words must make a quarter of the errors, three each at least."""
EXCESS = 2.0
"""How many times their share of the words must be their share of the errors."""
CHANCE = 0.05
"""At most so likely must it be that some words of this number make so many of the errors by chance."""
FEWEST_SPEAKERS, FEWEST_UTTERANCES = 4, 10
"""Speakers of the set, and utterances of a speaker who is named."""
STANDS_OUT = 1.5
"""Times the WER of all: that of a speaker who is named, beside an interval that lies above it."""
SPEAKERS_SHARE = 1 / 3
"""Of the errors that the named speakers must make together."""
NAMED = 3
"""Utterances and speakers in a sentence."""


def advice(score: Score) -> list[str]:
    """All that stands out, the surest first; nothing with fewer than 20 errors."""
    if score.errors < FEWEST_ERRORS:
        return []
    if wrote_nothing(score):
        return [
            f"{len(_empty(score))} of {len(score.utterances)} utterances came out empty: a model that has learnt "
            "nothing yet writes nothing; train it longer (training.epochs), on more audio, or from a trained one "
            "(`asr train CONFIG --init en-small`). If it writes elsewhere, are these silent or cut short? Listen to "
            f"{_named(_empty(score))}"
        ]
    in_few_utterances = _some_empty(score) or _utterances(score)
    return [*in_few_utterances, *_spaces(score), *_words(score), *_speakers(score), *_balance(score)]


def wrote_nothing(score: Score) -> bool:
    """Whether (nearly) all that should have words came out empty, so that nothing else can stand out."""
    spoken = sum(utterance.words > 0 for utterance in score.utterances)
    return score.errors >= FEWEST_ERRORS and len(_empty(score)) >= NEARLY_ALL * spoken > 0


def _empty(score: Score) -> list[UtteranceScore]:
    return [utterance for utterance in score.utterances if utterance.words and not utterance.hypothesis]


def _some_empty(score: Score) -> list[str]:
    empty = _empty(score)
    share = sum(utterance.errors for utterance in empty) / score.errors
    if share < SHARE:
        return []
    return [
        f"{len(empty)} of {len(score.utterances)} utterances came out empty, {_percent(share)} of the errors: are they "
        f"silent, cut short or misread? Listen to {_named(empty)}"
    ]


def _utterances(score: Score) -> list[str]:
    chosen, errors = [], 0
    for utterance in sorted(score.utterances, key=lambda utterance: -utterance.errors):
        if 2 * errors >= score.errors:
            break
        chosen.append(utterance)
        errors += utterance.errors
    few = len(chosen) <= FEW_UTTERANCES * len(score.utterances)
    bad = chosen[-1].errors >= BAD_UTTERANCE and 2 * errors >= sum(utterance.words for utterance in chosen)
    if not (few and bad):
        return []
    return [
        f"{len(chosen)} of {len(score.utterances)} utterances make {_percent(errors / score.errors)} of the errors: "
        f"wrong transcripts or bad audio? Listen to {_named(chosen)}"
    ]


def _spaces(score: Score) -> list[str]:
    regions = [region for utterance in score.utterances for region in _wrong_regions(utterance.alignment)]
    found: Counter[tuple[str, str]] = Counter()
    errors = 0
    for region in regions:
        said, heard = ([word for word in words if word is not None] for words in zip(*region, strict=True))
        if "".join(said) == "".join(heard):
            found[" ".join(said), " ".join(heard)] += 1
            errors += len(region)
    if errors < SHARE * score.errors:
        return []
    (said_first, heard_first), _ = found.most_common(1)[0]
    return [
        f"{_percent(errors / score.errors)} of the errors are words written together or apart, such as "
        f"'{heard_first}' for '{said_first}': one spelling in all transcripts, or a language model, helps"
    ]


def _wrong_regions(alignment: Alignment) -> Iterator[Alignment]:
    """Stretches without a hit."""
    region: list[tuple[str | None, str | None]] = []
    for pair in alignment:
        if operation(*pair):
            region.append(pair)
        elif region:
            yield tuple(region)
            region = []
    if region:
        yield tuple(region)


def _words(score: Score) -> list[str]:
    """A substitution or deletion is counted for the word that was said, an insertion for the word made up."""
    wrong: Counter[str] = score.confusions.deletions + score.confusions.insertions
    for (word, _), count in score.confusions.substitutions.items():
        wrong[word] += count
    chosen: list[str] = []
    errors = 0
    for word, count in wrong.most_common(WORDS):
        if errors >= WORDS_SHARE * score.errors or count < WORD_ERRORS:
            break
        chosen.append(word)
        errors += count
    said = Counter(word for utterance in score.utterances for word in utterance.reference.split())
    of_errors, of_words = errors / score.errors, sum(said[word] for word in chosen) / score.words
    if of_errors < WORDS_SHARE or of_errors < EXCESS * of_words:
        return []
    choices = math.log(math.comb(len(said.keys() | wrong.keys()), len(chosen)))
    if _surprise(of_errors, of_words, score.errors) < choices - math.log(CHANCE):
        return []
    subject = f"the word {chosen[0]} makes" if len(chosen) == 1 else f"{', '.join(chosen)} make"
    return [
        f"{subject} {_percent(of_errors)} of the errors and {_percent(of_words)} of the words: more training data of "
        "such words helps; with names and terms, hot words do"
    ]


def _surprise(share: float, expected: float, draws: int) -> float:
    """Chernoff's bound: the negative log of the probability that a share is as large in so many independent draws."""
    if expected == 0:
        return math.inf
    rest = (1 - share) * math.log((1 - share) / (1 - expected)) if share < 1 else 0.0
    return draws * (share * math.log(share / expected) + rest)


def _speakers(score: Score) -> list[str]:
    if score.speakers is None or (score.speaker_count or 0) < FEWEST_SPEAKERS:
        return []
    found = [
        group
        for group in by_label(score, score.speakers)
        if group.score.wer >= STANDS_OUT * score.wer
        and len(group.score.utterances) >= FEWEST_UTTERANCES
        and group.score.wer_interval[0] > score.wer
    ]
    errors = sum(group.score.errors for group in found) / score.errors
    words = sum(group.score.words for group in found) / score.words
    if errors < SPEAKERS_SHARE:
        return []
    named = ", ".join(f"{group.name} (WER {100 * group.score.wer:.1f} %)" for group in found[:NAMED])
    return [
        f"{len(found)} of {score.speaker_count} speakers make {_percent(errors)} of the errors and {_percent(words)} "
        f"of the words: {named}{', ...' if len(found) > NAMED else ''}; more training data of such voices helps"
    ]


def _balance(score: Score) -> list[str]:
    deleted, inserted = score.deletions / score.errors, score.insertions / score.errors
    if deleted >= LOPSIDED:
        return [
            f"deletions are {_percent(deleted)} of the errors, insertions {_percent(inserted)}: is the audio cut short "
            "or too quiet, or the decoder's word bonus too low?"
        ]
    if inserted >= LOPSIDED:
        return [
            f"insertions are {_percent(inserted)} of the errors, deletions {_percent(deleted)}: is there speech that "
            "the references leave out, is noise taken for words, or the decoder's word bonus too high?"
        ]
    return []


def _named(utterances: list[UtteranceScore]) -> str:
    shown = ", ".join(utterance.id for utterance in utterances[:NAMED])
    return f"{shown}, ..." if len(utterances) > NAMED else shown


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
