"""Pictures of a training and of one utterance on its way from waveform to words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from asr.decoding.alignment import Alignment, align
from asr.decoding.confidence import Calibration, with_times_and_confidence
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.recogniser import Recogniser
from asr.errors import AudioError
from asr.files import save_png
from asr.model.features import LogMel
from asr.text import SPACE

BLANK_COLOUR = "0.75"
LONGEST_SECONDS = 30.0
"""Of audio in one picture: more cannot be read."""


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
    save_png(figure, path)


def utterance_picture(
    recogniser: Recogniser, waveform: np.ndarray, path: Path, title: str = "", calibration: Calibration | None = None
) -> Hypothesis:
    """Waveform, log-mel, token probabilities over time, the decoder's words and how sure they are, as a PNG.

    Dashed lines mark where each word begins and ends. A word is the redder the less sure it is.

    Args:
        recogniser: the model.
        waveform: float32 `[samples]` at the recogniser's rate; a few seconds.
        path: where the picture goes.
        title: above it.
        calibration: of the confidences; without it they are the geometric mean of the tokens' posteriors.

    Returns:
        The hypothesis that is shown, with times and confidences.

    Raises:
        AudioError: the waveform is empty.
        AlignmentError: the tokens that the decoder found do not spell its words.
        OutputError: the picture cannot be written.
    """
    if not len(waveform):
        raise AudioError("the waveform has zero samples: there is nothing to draw")
    samples, lengths = torch.as_tensor(waveform)[None], torch.tensor([len(waveform)])
    log_probs, frames = recogniser.log_probs(samples, lengths)
    front_end = LogMel(recogniser.config.features)
    (found,) = recogniser.decoder(log_probs, frames)
    step, values = recogniser.model.frame_seconds, log_probs[0].cpu()
    hypothesis = with_times_and_confidence(
        found[0],
        values,
        recogniser.tokenizer,
        step,
        waveform=waveform,
        sample_rate=recogniser.sample_rate,
        calibration=calibration,
        alternatives=found,
    )
    with torch.inference_mode():
        log_mel = front_end.log_mel(samples, lengths)[0].numpy()
    end = len(waveform) / recogniser.sample_rate

    figure = Figure(figsize=(min(40.0, max(11.0, 2.2 * end)), 8), layout="constrained")
    wave, mel, tokens, words = figure.subplots(4, 1, sharex=True, height_ratios=[1, 2, 2, 0.6])
    wave.set_title(title.replace("$", r"\$"))
    wave.plot(np.arange(len(waveform)) / recogniser.sample_rate, waveform, linewidth=0.4)
    wave.set_ylabel("waveform")
    half = front_end.hop / recogniser.sample_rate / 2  # frames are centred on their time
    extent = (-half, 2 * half * len(log_mel) - half, 0, log_mel.shape[1])
    mel.imshow(log_mel.T, origin="lower", aspect="auto", extent=extent, cmap="magma")
    mel.set_ylabel("mel bin")
    _draw_tokens(tokens, hypothesis, align(values.numpy(), hypothesis.tokens), values.exp().numpy(), recogniser)
    _draw_words(words, hypothesis)
    for axis in (wave, mel, tokens):
        for word in hypothesis.words:
            colour = "white" if axis is mel else "0.4"
            for border in {word.start, word.end}:
                axis.axvline(border, color=colour, linewidth=0.7, linestyle="--")
    words.set_xlim(0, end)
    words.set_xlabel("seconds")
    save_png(figure, path)
    return hypothesis


def _draw_tokens(
    axis: Axes, hypothesis: Hypothesis, alignment: Alignment, probabilities: np.ndarray, recogniser: Recogniser
) -> None:
    """Probability of blank and of each token of the hypothesis; the frames that the alignment gives it are marked."""
    step, names = recogniser.model.frame_seconds, recogniser.tokenizer.tokens
    times = np.arange(len(probabilities)) * step
    axis.fill_between(times, probabilities[:, 0], color=BLANK_COLOUR, alpha=0.5, linewidth=0, label="blank")
    for token in sorted(set(hypothesis.tokens)):
        axis.plot(times, probabilities[:, token], linewidth=1)
    for token, first, last in zip(alignment.tokens, alignment.starts, alignment.ends, strict=True):
        peak = first + int(probabilities[first:last, token].argmax())
        label = names[token].replace(SPACE, "_").replace("$", r"\$")
        axis.annotate(label, (peak * step, probabilities[peak, token]), ha="center", va="bottom", fontsize=9)
        axis.axvspan((first - 0.5) * step, (last - 0.5) * step, ymax=0.03, color="tab:blue", alpha=0.6, linewidth=0)
    axis.set_ylim(0, 1.15)
    axis.set_ylabel("token probability")
    axis.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False, borderaxespad=0)


def _draw_words(axis: Axes, hypothesis: Hypothesis) -> None:
    """Each word over its time, with its confidence below."""
    colours = colormaps["RdYlGn"]
    for word in hypothesis.words:
        assert word.start is not None
        assert word.end is not None
        assert word.confidence is not None
        middle = (word.start + word.end) / 2
        axis.axvspan(word.start, word.end, color=colours(word.confidence), alpha=0.5, linewidth=0)
        axis.text(middle, 0.65, word.text.replace("$", r"\$"), ha="center", va="center", clip_on=True)
        axis.text(middle, 0.22, f"{word.confidence:.2f}", ha="center", va="center", fontsize=8, clip_on=True)
    axis.set_yticks([])
    axis.set_ylim(0, 1)
    axis.set_ylabel("words")
