"""A page to hear and see augmentation: a few utterances as they are, and as some epochs of training would have them."""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
import torch
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console

from asr.config import AugmentationConfig, Config, FeaturesConfig
from asr.data.augment import KINDS, Augmenter
from asr.data.index import ManifestIndex
from asr.data.problems import Problem, summarise
from asr.data.reading import load_utterance
from asr.data.utterance import Utterance
from asr.errors import AsrError, ManifestError
from asr.evaluation.page import page
from asr.files import write_text
from asr.model.augment import spec_augment
from asr.model.features import LogMel

BABBLE_UTTERANCES = 20
"""Other utterances that are read where babble is configured."""
GREY = "#808080"
"""Of labels and masks: seen on white and on black."""
_UNITS = {
    "speed": "times as fast",
    "tempo": "times as fast",
    "pitch": "semitones",
    "silence": "s",
    "reverberation": "s",
    "noise": "dB of signal over noise",
    "equaliser": "dB, each octave",
    "gain": "dB",
    "clipping": "dB over full scale",
    "telephone": "Hz upper edge",
    "codec": "compression",
}
_STYLE = """
section p { margin: .25rem 0; }
.about { max-width: 50rem; }
.text { font-size: 1.1rem; }
.versions { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 32rem), 1fr)); }
.versions { margin-top: .75rem; }
figure { border: 1px solid var(--line); border-radius: .5rem; margin: 0; min-width: 0; padding: .75rem; }
figcaption { min-height: 3em; }
audio, img { display: block; width: 100%; }
"""


@dataclass(frozen=True)
class _Version:
    """One way to hear an utterance: label, what was done, waveform `[samples]`, features `[frames, mels]`.

    What SpecAugment hides is NaN in the features.
    """

    label: str
    done: str
    waveform: np.ndarray
    features: np.ndarray


def listening_page(
    manifest: str | Path,
    config: Config,
    output: str | Path,
    *,
    utterances: int = 5,
    versions: int = 3,
    seed: int = 0,
    console: Console | None = None,
) -> Path:
    """Write one HTML file with players and log-mel pictures of augmented utterances; it needs no other file.

    The versions are what the first epochs of a training with this configuration hear. The masks of SpecAugment, which
    a training draws batch by batch, and the talkers of babble are examples, and no token sequence limits the speed.

    Args:
        manifest: folder or file, of any length.
        config: `augmentation`, `features` and `training.seed` matter.
        output: the file to write.
        utterances: how many to show; one that cannot be read gives its place to another.
        versions: how many epochs of each.
        seed: chooses the utterances.
        console: where recordings that cannot be read are named; None prints nothing.

    Returns:
        `output`.

    Raises:
        ManifestError: the manifest is unusable or empty, or none of its recordings can be read.
        OutputError: the page cannot be written.
        ConfigError, AudioError: noise or impulse responses cannot be read.
    """
    output = Path(output)
    index = ManifestIndex.open(manifest)
    if not len(index):
        raise ManifestError(f"{manifest}: no utterances to listen to")
    problems: list[Problem] = []
    readable = _readable(index, config.features.sample_rate, seed, problems)
    chosen = list(islice(readable, utterances))
    if not chosen:
        raise ManifestError(f"{manifest}: none of {len(index)} recordings can be read; first: {problems[0].message}")

    def babble() -> list[np.ndarray]:
        others = list(islice(readable, BABBLE_UTTERANCES)) or chosen  # a small manifest has no others
        return [waveform for _, waveform in others]

    augmenter = Augmenter(config.augmentation, config.features.sample_rate, seed=config.training.seed, babble=babble)
    sections = (
        _section(utterance, _versions(utterance, waveform, augmenter, config, versions), config.features)
        for utterance, waveform in chosen
    )
    body = _about(config, versions) + "".join(sections)
    write_text(output, page(f"Augmentation of {manifest}", body, style=_STYLE))
    if console:
        unused = [f"not used: {problem.message}" for problem in augmenter.problems]
        for line in unused + summarise(problems, str(manifest)):
            console.print(line, highlight=False, markup=False, soft_wrap=True, style="yellow")
    return output


def _readable(
    index: ManifestIndex, rate: int, seed: int, problems: list[Problem]
) -> Iterator[tuple[Utterance, np.ndarray]]:
    """Utterances in random order with their waveforms `[samples]`; those that cannot be read go to `problems`."""
    for number in np.random.default_rng(seed).permutation(len(index)).tolist():
        utterance = index[number]
        try:
            yield utterance, load_utterance(utterance, rate)
        except AsrError as error:
            problems.append(Problem(utterance.id, "unreadable audio", str(error)))


def _versions(
    utterance: Utterance, waveform: np.ndarray, augmenter: Augmenter, config: Config, epochs: int
) -> list[_Version]:
    """The original and one version for each epoch."""
    front_end = LogMel(config.features)
    masks = config.augmentation.spec_augment
    versions = [_Version("Original", "as it is in the manifest", waveform, _features(front_end, waveform))]
    for epoch in range(epochs):
        augmented, done = _augmented(waveform, augmenter, epoch, utterance.id)
        features = _features(front_end, augmented)
        if masks is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(zlib.crc32(f"{config.training.seed} {epoch} {utterance.id}".encode()))
                ones = torch.ones(1, *features.shape)
                kept = spec_augment(ones, torch.tensor([len(features)]), masks, config.features)[0].numpy()
            features[kept == 0] = np.nan
        versions.append(_Version(f"Epoch {epoch + 1}", done, augmented, features))
    return versions


def _augmented(waveform: np.ndarray, augmenter: Augmenter, epoch: int, id: str) -> tuple[np.ndarray, str]:
    """What an epoch hears of an utterance `[samples]`, and what was done to it."""
    sound = augmenter.no_speech(waveform, epoch=epoch, id=id)
    if sound is not None:
        return sound, "replaced by a sound without words, its transcript by nothing"
    done = list(map(str, augmenter.draw(epoch, id)))
    beside = (len(augmenter.surround(waveform, epoch=epoch, id=id)) - len(waveform)) / augmenter.sample_rate
    if beside:
        done.insert(0, f"sounds without words beside it {beside:.2f} s")
    return augmenter(waveform, epoch=epoch, id=id), ", ".join(done) or "nothing done to the waveform"


@torch.inference_mode()
def _features(front_end: LogMel, waveform: np.ndarray) -> np.ndarray:
    """What the model gets of a waveform `[samples]`: `[frames, mels]`."""
    features, _ = front_end(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))
    return features[0].numpy().copy()


def _about(config: Config, versions: int) -> str:
    """What the page shows and what the configuration says, above the utterances."""
    rows = "".join(
        f'<tr><th scope="row">{kind}</th><td>{share}</td><td>{escape(strength)}</td></tr>\n'
        for kind, share, strength in _settings(config.augmentation)
    )
    head = "<tr><th>Augmentation</th><th>Utterances</th><th>Strength</th></tr>"
    table = f"<table>\n{head}\n{rows}</table>\n" if rows else "<p>No augmentation is configured.</p>\n"
    masks = " SpecAugment draws its masks anew for each batch: those shown in grey are examples."
    babble = " The talkers of babble are examples too: a training takes them from all of its utterances."
    examples = masks if config.augmentation.spec_augment else ""
    if config.augmentation.noise and "babble" in config.augmentation.noise.kinds:
        examples += babble
    return (
        f'<p class="about">Each utterance as it is in the manifest, and as the first {versions} epochs of a training '
        f"with seed {config.training.seed} have it. The pictures are the features the model gets, mel bins upwards and "
        "seconds to the right, brighter where there is more energy; those of an utterance share one scale of "
        f"time and brightness.{examples}</p>\n{table}"
    )


def _settings(config: AugmentationConfig) -> Iterator[tuple[str, str, str]]:
    """Name, share of the utterances and strength of each augmentation that is on."""
    for kind in KINDS:
        settings = getattr(config, kind)
        if settings is None:
            continue
        low, high = settings.range
        strength = f"{low:g} to {high:g} {_UNITS[kind]}"
        folder = getattr(settings, "folder", None)
        if folder is not None:
            strength = f"from {folder}" + (f", {strength}" if kind == "noise" else "")
        else:
            choices = getattr(settings, "kinds", None) or getattr(settings, "formats", None)
            strength = f"{' or '.join(choices)}, {strength}" if choices else strength
        yield kind, f"{settings.probability:.0%}", strength
    sounds = config.no_speech
    if sounds is not None:
        yield "no speech", f"{sounds.probability:.0%}", "replaced by a sound without words"
        if sounds.beside:
            low, high = sounds.seconds
            yield "no speech beside", f"{sounds.beside:.0%}", f"{low:g} to {high:g} s before, after, or both"
    masks = config.spec_augment
    if masks is not None:
        yield (
            "SpecAugment",
            "100%",
            f"{masks.frequency_masks} bands of up to {masks.frequency_width:.0%} of the mel bins, "
            f"{masks.time_masks_per_second:g} stretches a second of up to {masks.time_width_ms:g} ms",
        )


def _section(utterance: Utterance, versions: list[_Version], config: FeaturesConfig) -> str:
    """An utterance with all of its versions."""
    original = versions[0]
    seconds = max(len(version.waveform) for version in versions) / config.sample_rate
    scale = np.percentile(original.features, (1, 99.5)).tolist()
    text = "no transcript" if utterance.text is None else escape(utterance.text)
    speaker = "" if utterance.speaker is None else f"speaker {escape(utterance.speaker)}, "
    figures = "".join(_figure(utterance.id, version, config, seconds, scale) for version in versions)
    return (
        f'<section>\n<h2>{escape(utterance.id)}</h2>\n<p class="text" dir="auto">{text}</p>\n'
        f'<p class="muted">{speaker}{len(original.waveform) / config.sample_rate:.2f} s</p>\n'
        f'<div class="versions">\n{figures}</div>\n</section>\n'
    )


def _figure(identifier: str, version: _Version, config: FeaturesConfig, seconds: float, scale: list[float]) -> str:
    """Caption, player and picture."""
    # 16-bit audio ends at full scale, and what the training hears does not.
    peak = max(1.0, float(np.abs(version.waveform).max()))
    softer = f" (played {20 * np.log10(peak):.1f} dB softer: it exceeds full scale)" if peak > 1 else ""
    flac = io.BytesIO()
    soundfile.write(flac, version.waveform / peak, config.sample_rate, format="FLAC", subtype="PCM_16")
    length = len(version.waveform) / config.sample_rate
    name = escape(f"{version.label} of {identifier}")
    return (
        f"<figure>\n<figcaption><strong>{version.label}</strong>, {length:.2f} s: {escape(version.done + softer)}"
        f'</figcaption>\n<audio controls aria-label="{name}" src="{_embedded("audio/flac", flac)}"></audio>\n'
        f'<img alt="Log-mel features over time: {name}, {escape(version.done)}" '
        f'src="{_embedded("image/png", _picture(version, length, seconds, scale))}">\n</figure>\n'
    )


def _picture(version: _Version, length: float, seconds: float, scale: list[float]) -> io.BytesIO:
    """A PNG of the features, `length` seconds of them, on a time axis of `seconds`."""
    figure = Figure(figsize=(6.4, 2.2), dpi=120, facecolor="none", layout="constrained")
    axes = figure.add_subplot(facecolor="none", xlabel="seconds", ylabel="mel bin")
    axes.imshow(
        version.features.T,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(0, length, 0, version.features.shape[1]),
        cmap=colormaps["magma"].with_extremes(bad=GREY),
        vmin=scale[0],
        vmax=scale[1],
    )
    axes.set_xlim(0, seconds)
    axes.tick_params(colors=GREY)
    for part in (axes.xaxis.label, axes.yaxis.label):
        part.set_color(GREY)
    axes.spines[:].set_visible(False)
    png = io.BytesIO()
    FigureCanvasAgg(figure).print_png(png)
    return png


def _embedded(kind: str, file: io.BytesIO) -> str:
    return f"data:{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
