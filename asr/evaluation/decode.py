"""Decode a test set in one pass: texts, times and confidences of the words, and what the waveforms tell."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from asr.data.batches import make_batches
from asr.data.examples import Example
from asr.data.loading import Batch, SpeechDataset, collate
from asr.data.utterance import Utterance
from asr.decoding.confidence import Calibration, with_times_and_confidence
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.recogniser import Recogniser
from asr.errors import AlignmentError, ManifestError
from asr.evaluation.facts import Facts
from asr.evaluation.sharing import gather, share


@dataclass
class Decoded:
    """What a pass over a test set found, by utterance id, in the order of the set.

    Attributes:
        hypotheses: the best of each utterance that could be read.
        facts: of the same utterances, where they were asked for.
        failures: (id, reason) of utterances that could not be read.
        untimed: (id, reason) of utterances whose words could not be aligned, and so have no confidence.
        seconds: wall time of reading and decoding, of the slowest process where several share the work; facts and
            confidences are not in it.
        calibrated: whether the confidences are.
    """

    hypotheses: dict[str, Hypothesis] = field(default_factory=dict)
    facts: dict[str, Facts] = field(default_factory=dict)
    failures: list[tuple[str, str]] = field(default_factory=list)
    untimed: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    calibrated: bool = False


def decode(
    recogniser: Recogniser,
    utterances: Sequence[Utterance],
    *,
    facts: bool = True,
    confidence: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Decoded:
    """Decode utterances in batches of similar length.

    In a distributed run all processes call this with the same utterances. The batches, which are those of a single
    process, are dealt out among them, so that the texts are the same to the bit, and all processes get all of them.

    Args:
        recogniser: the model and its decoder.
        utterances: with ids of their own.
        facts: measure the waveforms.
        confidence: give the words their times and confidences, where the model's head allows it.
        progress: called with (utterances done, utterances in all) after each batch, of this process's share.

    Raises:
        CheckpointError: the model's calibration of confidences is broken.
        ManifestError: the processes were given different utterances.
    """
    ids = "\n".join(utterance.id for utterance in utterances).encode(errors="surrogatepass")
    if len(set(gather(lambda: zlib.crc32(ids)))) > 1:
        raise ManifestError("the processes read different utterances; is the manifest in a folder all machines share?")
    batches = make_batches([u.duration for u in utterances], recogniser.decoding.batch_seconds)
    mine = share([len(batch) * max(utterances[i].duration for i in batch) for batch in batches])
    parts = gather(
        lambda: _decode(recogniser, utterances, [batches[n] for n in mine], facts, confidence, progress),
    )
    return _joined(parts, utterances)


def _decode(
    recogniser: Recogniser,
    utterances: Sequence[Utterance],
    batches: Sequence[Sequence[int]],
    facts: bool,
    confidence: bool,
    progress: Callable[[int, int], None] | None,
) -> Decoded:
    found = Decoded()
    calibration = None
    confidence = confidence and recogniser.aligns
    if confidence and recogniser.folder is not None:
        calibration = Calibration.load(recogniser.folder)
        found.calibrated = calibration is not None
    by_id = {utterance.id: utterance for utterance in utterances}
    dataset = SpeechDataset([Example(utterance, []) for utterance in utterances], recogniser.sample_rate)
    total = sum(map(len, batches))
    for indices in batches:
        started = time.perf_counter()
        batch = collate([dataset[0, index] for index in indices])
        found.failures += batch.failures
        if batch.ids:
            log_probs, frames = recogniser.outputs(batch.waveforms, batch.lengths)
            lists = recogniser.decoder(log_probs, frames)
            found.hypotheses |= {key: nbest[0] for key, nbest in zip(batch.ids, lists, strict=True)}
        found.seconds += time.perf_counter() - started
        if facts:
            for key, waveform in zip(batch.ids, _rows(batch), strict=True):
                found.facts[key] = Facts.of(by_id[key], waveform.numpy(), recogniser.sample_rate)
        if confidence and batch.ids:
            _time_words(recogniser, batch, log_probs, frames, lists, calibration, found)
        if progress:
            progress(len(found.hypotheses) + len(found.failures), total)
    return found


def _joined(parts: Sequence[Decoded], utterances: Sequence[Utterance]) -> Decoded:
    place = {utterance.id: number for number, utterance in enumerate(utterances)}
    hypotheses = {key: hypothesis for part in parts for key, hypothesis in part.hypotheses.items()}
    facts = {key: known for part in parts for key, known in part.facts.items()}
    return Decoded(
        hypotheses={key: hypotheses[key] for key in sorted(hypotheses, key=place.__getitem__)},
        facts={key: facts[key] for key in sorted(facts, key=place.__getitem__)},
        failures=sorted((row for part in parts for row in part.failures), key=lambda row: place[row[0]]),
        untimed=sorted((row for part in parts for row in part.untimed), key=lambda row: place[row[0]]),
        seconds=max(part.seconds for part in parts),
        calibrated=parts[0].calibrated,
    )


def _rows(batch: Batch) -> list[Tensor]:
    return [row[:length] for row, length in zip(batch.waveforms, batch.lengths.tolist(), strict=True)]


def _time_words(
    recogniser: Recogniser,
    batch: Batch,
    log_probs: Tensor,
    frames: Tensor,
    lists: Sequence[Sequence[Hypothesis]],
    calibration: Calibration | None,
    found: Decoded,
) -> None:
    values = log_probs.float().cpu().numpy()
    for row, (key, waveform, nbest) in enumerate(zip(batch.ids, _rows(batch), lists, strict=True)):
        if not nbest[0].words:
            continue
        try:
            found.hypotheses[key] = with_times_and_confidence(
                nbest[0],
                values[row, : int(frames[row])],
                recogniser.tokenizer,
                recogniser.model.frame_seconds,
                waveform=waveform,
                sample_rate=recogniser.sample_rate,
                calibration=calibration,
                alternatives=nbest,
            )
        except AlignmentError as error:
            found.untimed.append((key, str(error)))
