"""The configuration: one tree of pydantic models, read from YAML, every key checked and every value explained."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from asr.errors import ConfigError
from asr.files import replacing


class Section(BaseModel):
    """Base of every section: unknown keys are errors, values are checked on assignment too."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, validate_assignment=True)


class DataConfig(Section):
    """Which utterances, and how they are perturbed and batched."""

    train: str | None = None
    """Training manifest: a folder with `cuts.jsonl` or the file itself."""
    dev: str | None = None
    """Development manifest: chooses the best epoch; its speakers must not be in `train`."""
    max_seconds: float = Field(30.0, gt=0)
    """Longer training utterances are left out and named: one of them would decide the memory of every batch."""
    batch_seconds: float = Field(60.0, gt=0)
    """Seconds of audio a batch, padding included. Small batches take more steps; small corpora are short of steps."""
    speed: tuple[float, float] = (0.9, 1.1)
    """Range of the random speed factor (tempo and pitch together; Ko et al. 2015). (1, 1) turns it off."""
    gain_db: tuple[float, float] = (0.0, 0.0)
    """Range of the random gain in dB. Of no effect with `features.normalisation: utterance`, which takes levels out."""
    workers: int = Field(1, ge=0, le=64)
    """Processes that read and perturb audio beside the training; 0 does it in the training process."""

    @model_validator(mode="after")
    def _check_ranges(self) -> DataConfig:
        low, high = self.speed
        if not 0.5 <= low <= high <= 2.0:
            raise ValueError(f"speed must be a range within 0.5 and 2.0, low first, not ({low}, {high})")
        low, high = self.gain_db
        if not -60 <= low <= high <= 60:
            raise ValueError(f"gain_db must be a range within -60 and 60, low first, not ({low}, {high})")
        return self


class FeaturesConfig(Section):
    """Log-mel features. The defaults are what NeMo-style runtimes (sherpa-onnx `nemo_ctc`) compute by themselves."""

    sample_rate: int = Field(16000, ge=4000, le=96000)
    """Hz. Every recording is resampled to it."""
    mels: int = Field(80, ge=8, le=256)
    """Mel bins, Slaney scale and area normalisation, as librosa's default."""
    window_ms: float = Field(25.0, gt=1, le=200)
    """Hann window, milliseconds."""
    hop_ms: float = Field(10.0, gt=1, le=100)
    """Milliseconds between frames."""
    low_hz: float = Field(0.0, ge=0)
    """Lower edge of the first mel filter."""
    high_hz: float | None = None
    """Upper edge of the last mel filter; none: half the sample rate."""
    preemphasis: float = Field(0.97, ge=0, lt=1)
    """y[t] = x[t] - preemphasis * x[t-1]: evens out the fall of speech towards high frequencies."""
    log_floor: float = Field(2.0**-23, gt=0)
    """Mel energies are raised to this before the logarithm: the float32 epsilon, as Kaldi-style front ends use."""
    normalisation: Literal["utterance", "global", "none"] = "utterance"
    """Mean 0 and variance 1 of each bin: over the utterance, with statistics of the training set, or not at all.
    Over the utterance takes out level and channel; a word of 0.3 s alone is too short for it (see recipes/digits)."""

    @model_validator(mode="after")
    def _check_band(self) -> FeaturesConfig:
        high = self.high_hz if self.high_hz is not None else self.sample_rate / 2
        if not self.low_hz < high <= self.sample_rate / 2:
            raise ValueError(
                f"low_hz {self.low_hz:g} < high_hz {high:g} <= half the sample rate {self.sample_rate / 2:g} must hold"
            )
        if self.hop_ms > self.window_ms:
            raise ValueError(f"hop_ms {self.hop_ms:g} is longer than window_ms {self.window_ms:g}: audio would be lost")
        return self


class SpecAugmentConfig(Section):
    """SpecAugment (Park et al. 2019) on the normalised features; masked values become 0, the mean."""

    frequency_masks: int = Field(2, ge=0, le=10)
    """How many bands are masked."""
    frequency_width: float = Field(0.25, ge=0, le=1)
    """Widest band, as a share of the mel bins."""
    time_masks_per_second: float = Field(0.5, ge=0, le=10)
    """Time masks grow with the length of the utterance; the count is rounded up."""
    time_width_ms: float = Field(250.0, ge=0)
    """Widest time mask, milliseconds: about a letter or a short syllable."""


class SubsamplingConfig(Section):
    """Fewer frames before the recurrent layers: the cost of everything after falls by `factor`."""

    kind: Literal["conv", "stack"] = "conv"
    """Masked stride-2 convolutions over time and frequency, or neighbouring frames stacked."""
    factor: Literal[1, 2, 3, 4, 6, 8] = 4
    """Time subsampling. `conv` takes 2, 4 or 8; `stack` any."""
    channels: int = Field(32, ge=1, le=512)
    """Channels of each convolution."""

    @model_validator(mode="after")
    def _check_factor(self) -> SubsamplingConfig:
        if self.kind == "conv" and self.factor not in (2, 4, 8):
            raise ValueError(f"subsampling by {self.factor} needs kind: stack; conv takes 2, 4 or 8")
        return self


class ModelConfig(Section):
    """The acoustic model: subsampling, recurrent layers, linear head."""

    subsampling: SubsamplingConfig = SubsamplingConfig()
    cell: Literal["lstm", "gru", "rnn_tanh", "rnn_relu"] = "lstm"
    """Recurrent cell (Elman 1990; Hochreiter and Schmidhuber 1997; Cho et al. 2014)."""
    layers: int = Field(3, ge=1, le=24)
    """Recurrent layers."""
    hidden: int = Field(320, ge=1, le=4096)
    """Units of each direction of each layer."""
    bidirectional: bool = True
    """Read the utterance in both directions (Schuster and Paliwal 1997); false: forwards only."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Before each recurrent layer and the head."""


class TrainingConfig(Section):
    """Optimisation."""

    epochs: int = Field(40, ge=1)
    """Passes over the training set. The learning rate falls to 0 at the end of the last, so choose it first."""
    learning_rate: float = Field(2.0e-3, gt=0, le=1)
    """Peak of the schedule, for AdamW."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of all steps in which the rate rises linearly from 0 to its peak."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the rate falls after the warm-up."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled (Loshchilov and Hutter 2019), on weight matrices only."""
    clip: float = Field(1.0, gt=0)
    """Largest norm of the gradient (Pascanu et al. 2013): recurrent gradients explode now and then."""
    seed: int = Field(0, ge=0)
    """Seed of initial weights, batch order, augmentation and dropout."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """auto: bfloat16 on a GPU that has it, else float32. CTC is always float32."""
    checkpoint_minutes: float = Field(2.0, gt=0)
    """Most work a crash can cost; a checkpoint is also written after each epoch."""
    spec_augment: SpecAugmentConfig | None = SpecAugmentConfig()
    """null turns it off."""


class TextConfig(Section):
    """How transcripts become tokens."""

    case: Literal["lower", "upper", "keep"] = "lower"
    """Letter case of the model's alphabet."""
    alphabet: str | None = None
    """The characters to model, space not counted; none: those of the training transcripts."""


class DecodingConfig(Section):
    """How token probabilities become text."""

    method: Literal["greedy"] = "greedy"
    """Best token of each frame, repeats merged, blanks removed."""
    batch_seconds: float = Field(60.0, gt=0)
    """Seconds of audio decoded at once, padding included. A CPU's caches like 30 to 60; a GPU likes more."""


class Config(Section):
    """Everything that defines a model and its training."""

    data: DataConfig = DataConfig()
    features: FeaturesConfig = FeaturesConfig()
    text: TextConfig = TextConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    decoding: DecodingConfig = DecodingConfig()


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a YAML file and apply `section.key=value` overrides.

    Raises:
        ConfigError: the file is missing or not YAML, a key is unknown (the nearest is named), a value is impossible.
    """
    path = Path(path)
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2020-13-45
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    tree = {} if tree is None else tree
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected sections such as `model:`, found {type(tree).__name__}")
    for override in overrides:
        _apply(tree, override)
    return parse_config(tree, str(path))


def parse_config(tree: dict[str, Any], where: str = "configuration") -> Config:
    """Check a nested dictionary; `where` opens the error message.

    Raises:
        ConfigError: lists every unknown key and impossible value.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        problems = [_explain(problem) for problem in error.errors()]
        raise ConfigError(f"{where}: " + "; ".join(problems)) from None


def save_config(config: Config, path: Path) -> None:
    """Write the whole tree, defaults included, as YAML, atomically."""
    with replacing(path) as partial:
        partial.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8")


def config_keys(section: type[BaseModel] = Config, prefix: str = "") -> list[str]:
    """Every dotted key, such as `model.subsampling.factor`."""
    keys: list[str] = []
    for name, child in ((name, _section_of(field.annotation)) for name, field in section.model_fields.items()):
        keys += config_keys(child, f"{prefix}{name}.") if child else [prefix + name]
    return keys


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The section class inside `annotation` (which may be `Section | None`), if there is one."""
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ConfigError(f"--set {override}: expected section.key=value, such as training.epochs=30")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise ConfigError(f"--set {override}: {text!r} is not a YAML value") from None
    *parents, leaf = key.split(".")
    section: Any = Config
    for name in (*parents, leaf):
        if section is None or name not in section.model_fields:
            raise ConfigError(f"--set {override}: {_unknown(key)}")
        section = _section_of(section.model_fields[name].annotation)
    node = tree
    for name in parents:
        child = node.setdefault(name, {})
        if child is None:  # a section switched off in the file, and switched on again by this override
            child = node[name] = {}
        if not isinstance(child, dict):
            raise ConfigError(f"--set {override}: `{name}` is {child!r} in the file, not a section")
        node = child
    node[leaf] = value


def _explain(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return _unknown(key)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{key}: {message}"
    return f"{key} = {problem['input']!r}: {message[0].lower()}{message[1:]}"


def _unknown(key: str) -> str:
    leaf = key.rpartition(".")[2]

    def likeness(known: str) -> float:
        # The right name in the wrong section is as common a slip as a misspelt one.
        pairs = ((key, known), (leaf, known.rpartition(".")[2]))
        return max(difflib.SequenceMatcher(None, a, b).ratio() for a, b in pairs)

    near = max([*config_keys(), *Config.model_fields], key=likeness)
    if likeness(near) >= 0.6:
        return f"unknown key {key!r}, did you mean {near!r}?"
    return f"unknown key {key!r}; the sections are {', '.join(Config.model_fields)}"
