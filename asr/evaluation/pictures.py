"""Pictures of a training and of one utterance on its way from waveform to words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from asr.decoding.greedy import greedy
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.recogniser import Recogniser
from asr.files import replacing
from asr.text import SPACE

BLANK_COLOUR = "0.75"


def training_curve(history: Sequence[Mapping[str, Any]], path: Path, title: str = "") -> None:
    """Loss and, where there was a dev set, dev WER of each epoch as a PNG.

    Args:
        history: rows with `epoch`, `loss` and perhaps `dev_wer`, as `TrainingResult.history` has them.
        path: where the picture goes.
        title: above it.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    loss_axis = figure.add_subplot(title=title, xlabel="epoch", ylabel="training loss (nats per label)")
    epochs = [row["epoch"] for row in history]
    (line,) = loss_axis.plot(epochs, [row["loss"] for row in history], color="tab:blue", label="training loss")
    loss_axis.set_ylim(bottom=0)
    loss_axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    lines = [line]
    if history and "dev_wer" in history[0]:
        wer_axis = loss_axis.twinx()
        wer_axis.set_ylabel("dev WER (%)")
        (line,) = wer_axis.plot(epochs, [100 * row["dev_wer"] for row in history], color="tab:red", label="dev WER")
        wer_axis.set_ylim(bottom=0)
        lines.append(line)
    loss_axis.legend(handles=lines)
    _save(figure, path)


def utterance_picture(recogniser: Recogniser, waveform: np.ndarray, path: Path, title: str = "") -> Hypothesis:
    """Waveform, log-mel, token probabilities over time and the words, one above the other, as a PNG.

    Args:
        recogniser: the model.
        waveform: float32 `[samples]` at the recogniser's rate; a few seconds.
        path: where the picture goes.
        title: above it.

    Returns:
        The hypothesis that is shown.
    """
    samples = torch.as_tensor(waveform)[None].to(recogniser.device)
    lengths = torch.tensor([len(waveform)], device=recogniser.device)
    log_probs, frames = recogniser.log_probs(samples, lengths)
    (hypothesis,) = greedy(log_probs, frames, recogniser.tokenizer)
    with torch.inference_mode():
        log_mel = recogniser.model.features.log_mel(samples, lengths)[0].cpu().numpy()
    probabilities = log_probs[0].exp().cpu().numpy()
    step = recogniser.model.frame_seconds
    end = len(waveform) / recogniser.sample_rate

    figure = Figure(figsize=(11, 8), layout="constrained")
    wave, mel, tokens, words = figure.subplots(4, 1, sharex=True, height_ratios=[1, 2, 2, 0.4])
    wave.set_title(title)
    wave.plot(np.arange(len(waveform)) / recogniser.sample_rate, waveform, linewidth=0.4)
    wave.set_ylabel("waveform")
    mel.imshow(log_mel.T, origin="lower", aspect="auto", extent=(0, end, 0, log_mel.shape[1]), cmap="magma")
    mel.set_ylabel("mel bin")
    times = np.arange(len(probabilities)) * step
    tokens.fill_between(times, probabilities[:, 0], color=BLANK_COLOUR, alpha=0.5, linewidth=0, label="blank")
    for token in sorted(set(hypothesis.tokens)):
        tokens.plot(times, probabilities[:, token], linewidth=1)
    for token, frame in zip(hypothesis.tokens, hypothesis.frames, strict=True):
        label = "_" if recogniser.tokenizer.tokens[token] == SPACE else recogniser.tokenizer.tokens[token]
        tokens.annotate(label, (frame * step, probabilities[frame, token]), ha="center", va="bottom", fontsize=9)
    tokens.set_ylim(0, 1.15)
    tokens.set_ylabel("token probability")
    tokens.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False, borderaxespad=0)
    for word, begin, finish in _word_spans(hypothesis, recogniser.tokenizer.tokens, step):
        words.axvspan(begin, finish + step, color="tab:blue", alpha=0.15)
        words.text((begin + finish + step) / 2, 0.5, word, ha="center", va="center")
    words.set_yticks([])
    words.set_ylabel("words")
    words.set_xlim(0, end)
    words.set_xlabel("seconds")
    _save(figure, path)
    return hypothesis


def _word_spans(hypothesis: Hypothesis, tokens: Sequence[str], step: float) -> list[tuple[str, float, float]]:
    """Each word with the seconds at which its first and last token are emitted: CTC's spikes, not its boundaries."""
    spans: list[tuple[str, float, float]] = []
    word, begin, finish = "", 0.0, 0.0
    for token, frame in zip(hypothesis.tokens, hypothesis.frames, strict=True):
        if tokens[token] == SPACE:
            if word:
                spans.append((word, begin, finish))
            word = ""
            continue
        begin = begin if word else frame * step
        word, finish = word + tokens[token], frame * step
    return [*spans, (word, begin, finish)] if word else spans


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        FigureCanvasAgg(figure).print_png(partial)
