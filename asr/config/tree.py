"""The configuration tree: pydantic models, every key checked and every value explained."""

from __future__ import annotations

from operator import attrgetter
from typing import Any, Literal

from pydantic import Field, model_validator

from asr.config.augmentation import AugmentationConfig
from asr.config.features import FeaturesConfig
from asr.config.section import Section

BPE_VOCABULARY = 300
"""Tokens of `text.units: bpe` where `text.vocabulary` does not say."""


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
    workers: int = Field(1, ge=0, le=64)
    """Processes that read and perturb audio beside the training; 0 does it in the training process."""
    shortest_first: bool = False
    """The first epoch goes from short to long utterances, as in Deep Speech 2 (Amodei et al. 2016)."""
    buffer_shards: int = Field(4, ge=1)
    """With shards: how many are mixed with each other. More shuffle better and take more room while they are read."""


class SubsamplingConfig(Section):
    """Fewer frames before the recurrent layers: the cost of everything after falls by `factor`."""

    kind: Literal["conv", "stack"] = "conv"
    """Masked stride-2 convolutions over time and frequency, or neighbouring frames stacked."""
    factor: Literal[1, 2, 3, 4, 6, 8] = 4
    """Time subsampling. `conv` takes 2, 4 or 8; `stack` any."""
    channels: int = Field(32, ge=1, le=512)
    """Channels of each convolution."""
    depth: int = Field(0, ge=0, le=16)
    """With `conv`: further 3x3 convolutions behind those, at the lower rate, each added to its input."""

    @model_validator(mode="after")
    def _check_factor(self) -> SubsamplingConfig:
        if self.kind == "conv" and self.factor not in (2, 4, 8):
            raise ValueError(f"subsampling by {self.factor} needs kind: stack; conv takes 2, 4 or 8")
        if self.kind == "stack" and self.depth:
            raise ValueError("depth is an option of kind: conv")
        return self


class ModelConfig(Section):
    """The acoustic model: subsampling, encoder, head."""

    subsampling: SubsamplingConfig = SubsamplingConfig()
    encoder: Literal["rnn", "transformer"] = "rnn"
    """What reads the utterance: recurrent layers, or self-attention (Vaswani et al. 2017)."""
    head: Literal["ctc", "attention"] = "ctc"
    """What writes the text: CTC (Graves et al. 2006), or an LSTM that looks where it likes (Bahdanau et al. 2015)."""
    cell: Literal["lstm", "gru", "rnn_tanh", "rnn_relu"] = "lstm"
    """Recurrent cell (Elman 1990; Hochreiter and Schmidhuber 1997; Cho et al. 2014)."""
    layers: int = Field(3, ge=1, le=24)
    """Layers of the encoder."""
    hidden: int = Field(320, ge=1, le=4096)
    """Units of each direction of each recurrent layer, or the width of a Transformer."""
    bidirectional: bool = True
    """Read the utterance in both directions (Schuster and Paliwal 1997); false: forwards only."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Before each recurrent layer and the head; in a Transformer of attention weights and of what each block adds."""
    weight_drop: float = Field(0.0, ge=0, lt=1)
    """Dropout of the recurrent weights, the same ones in every frame of a batch (Merity et al. 2018)."""
    projection: int | None = Field(None, ge=1, le=4096)
    """Width that a linear layer brings the output of each recurrent layer to; none: there is no such layer."""
    residual: bool = False
    """Add to the output of a recurrent layer its input where both are equally wide (He et al. 2016)."""
    heads: int = Field(4, ge=1, le=64)
    """Attention heads of a Transformer layer; each gets its share of `hidden`."""
    feedforward: int = Field(1024, ge=1, le=16384)
    """Units of the feed-forward block of a Transformer layer."""
    intermediate: list[int] = Field(default=[])
    """Layers, counted from 1, behind which the head gives a CTC loss too (Lee and Watanabe 2021)."""
    self_conditioning: bool = False
    """Tell the layers above an `intermediate` one what the head found there (Nozaki and Komatsu 2021)."""

    @model_validator(mode="after")
    def _check_encoder(self) -> ModelConfig:
        if self.encoder == "transformer":
            if self.hidden % (2 * self.heads):
                raise ValueError(f"hidden {self.hidden} must be an even number for each of {self.heads} heads")
            self.refuse_changed(("cell", "weight_drop", "projection", "residual"), "encoder: rnn")
            if not self.bidirectional:
                raise ValueError("encoder: transformer reads whole utterances; bidirectional: false needs encoder: rnn")
        else:
            self.refuse_changed(("heads", "feedforward"), "encoder: transformer")
        if not all(1 <= layer < self.layers for layer in self.intermediate):
            raise ValueError(f"intermediate {self.intermediate} must lie below the last of {self.layers} layers")
        if self.intermediate and self.head != "ctc":
            raise ValueError("intermediate CTC losses need head: ctc")
        if self.self_conditioning and not self.intermediate:
            raise ValueError("self_conditioning needs layers in intermediate")
        return self


class TrainingConfig(Section):
    """Optimisation."""

    epochs: int = Field(40, ge=1)
    """Passes over the training set. Most schedules end with the last, so choose it first."""
    learning_rate: float = Field(2.0e-3, gt=0, le=1)
    """Peak of the schedule, for AdamW."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of all steps in which the rate rises linearly from 0 to its peak."""
    schedule: Literal["cosine", "linear", "noam", "plateau", "constant"] = "cosine"
    """How the rate falls after the warm-up: to 0 along half a cosine (Loshchilov and Hutter 2017) or a line; with the
    inverse square root of the step (noam: Vaswani et al. 2017); whenever the dev set has stopped getting better."""
    plateau_patience: int = Field(3, ge=1)
    """With `schedule: plateau`: epochs without a lower dev CER (or loss, without a dev set) before the rate falls."""
    plateau_factor: float = Field(0.5, gt=0, lt=1)
    """With `schedule: plateau`: what the rate is then multiplied by."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled (Loshchilov and Hutter 2019), on weight matrices only."""
    clip: float = Field(1.0, gt=0)
    """Largest norm of the gradient (Pascanu et al. 2013): recurrent gradients explode now and then."""
    bptt_frames: int | None = Field(None, ge=1)
    """Cut the gradient through the recurrence every so many frames (after subsampling), for recordings that are too
    long for the memory otherwise: the state is carried on. Needs `model.bidirectional: false`; none: never."""
    init: str | None = None
    """Fine-tuning: the model whose weights to start from, a folder or the name of a model of the package. Its
    architecture and features are taken over (`hop_ms`, `normalisation`, `prior_seconds` only where they are not said),
    and the weights of all tokens that it has. Lower the learning rate: what it knows is soon forgotten."""
    frozen: int | None = Field(None, ge=0)
    """With `init`: the subsampling and so many encoder layers stay as they are; none: everything is trained."""
    seed: int = Field(0, ge=0)
    """Seed of initial weights, batch order, augmentation and dropout."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """auto: bfloat16 on a GPU that has it, else float32. CTC is always float32."""
    ema: float | None = Field(None, ge=0, lt=1)
    """Decay of a moving average of the weights, which is then what is measured on dev and kept."""
    consistency: float = Field(0.0, ge=0)
    """CR-CTC (Yao et al. 2024): each utterance is seen under two SpecAugment masks, and what the two give is drawn
    together with this weight; 0.2 in the paper, with 2.5 times as many time masks (`time_masks_per_second`). A step
    takes twice the time and memory; 0: off."""
    intermediate_weight: float = Field(0.3, ge=0, le=1)
    """Share of the `model.intermediate` losses, whose mean it is, in the loss."""
    label_prior: float = Field(0.0, ge=0, le=1)
    """Scores are divided by how likely the token is in this batch, to this power, before CTC: less of the blank
    (Zeyer et al. 2021; Huang et al. 2024 use 0.3). 0: off."""
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    """With `model.head: attention`: probability that is spread over all tokens (Szegedy et al. 2016)."""
    checkpoint_minutes: float = Field(2.0, gt=0)
    """Most work a crash can cost; a checkpoint is also written after each epoch."""
    checkpoint_steps: int | None = Field(None, ge=1)
    """Also write one every so many steps."""
    keep_last: int = Field(2, ge=1, le=100)
    """Checkpoints kept: should the newest be damaged, training continues from the one before."""
    keep_best: int = Field(1, ge=1, le=100)
    """Epochs with the lowest dev WER whose weights are kept."""
    log_steps: int = Field(10, ge=1)
    """Steps between rows of the log; a GPU is not made to wait for its results in between."""

    @model_validator(mode="after")
    def _check_schedule(self) -> TrainingConfig:
        if self.schedule == "noam" and not self.warmup:
            raise ValueError("schedule: noam falls from the end of the warm-up on; set warmup above 0")
        if self.init is None:
            self.refuse_changed(("frozen",), "trainings with init")
        if self.schedule != "plateau":
            self.refuse_changed(("plateau_patience", "plateau_factor"), "schedule: plateau")
        return self


class TextConfig(Section):
    """How transcripts become tokens."""

    case: Literal["lower", "upper", "keep"] = "lower"
    """Letter case of the model's alphabet."""
    remove: str = ""
    """Characters taken out of transcripts, such as '.,!?;:"'; a space stands in their place."""
    alphabet: str | None = None
    """The characters to model, space not counted; none: those of the training transcripts."""
    units: Literal["characters", "bpe", "phones"] = "characters"
    """What a token is: a character, a piece of a word (Sennrich et al. 2016), or a phone of its pronunciation."""
    vocabulary: int | None = Field(None, ge=3)
    """With `units: bpe`: how many tokens, blank and single characters counted; none: 300, for some hours of speech."""
    lexicon: str | None = None
    """With `units: phones`: pronunciations of the training words, CMUdict style; `asr lexicon` writes them."""
    stress: bool = False
    """With `units: phones`: keep the stress digits of CMUdict's vowels. Without, there are 39 phones instead of 69."""

    @model_validator(mode="before")
    @classmethod
    def _default_vocabulary(cls, tree: Any) -> Any:
        if isinstance(tree, dict) and tree.get("units") == "bpe" and tree.get("vocabulary") is None:
            return tree | {"vocabulary": BPE_VOCABULARY}
        return tree

    @model_validator(mode="after")
    def _check_units(self) -> TextConfig:
        owners = {"vocabulary": "bpe", "lexicon": "phones", "stress": "phones"}
        for name, units in owners.items():
            if getattr(self, name) and self.units != units:
                raise ValueError(f"{name} is an option of units: {units}")
        if self.units == "phones":
            if self.lexicon is None:
                raise ValueError("units: phones needs a lexicon; `asr lexicon MANIFEST --output NEW` writes one")
            if self.alphabet is not None:
                raise ValueError("alphabet is an option of units: characters and bpe; phones come from the lexicon")
        return self


RULES = ("hotwords", "grammar", "lexicon")
"""Settings of decoding that exclude each other, but for a lexicon beside a language model."""


class DecodingConfig(Section):
    """How token probabilities become text."""

    method: Literal["greedy", "beam"] = "greedy"
    """Best token of each frame, repeats merged, blanks removed; or the likeliest texts, all alignments summed."""
    beam: int = Field(64, ge=1, le=10_000)
    """Prefixes that beam search keeps after each frame."""
    lm: str | None = None
    """N-gram language model (.lm, .lmz, .arpa, .arpa.gz); a relative path is looked for in the model folder first."""
    lm_weight: float = Field(0.5, ge=0)
    """Factor of the language model's log-probability. `asr lm tune` finds this and the next two on a dev set."""
    word_bonus: float = 0.0
    """Added for each word, natural log: a language model makes every word cost something, and so favours few."""
    prior_weight: float = Field(0.0, ge=0, le=2)
    """Probabilities are divided by how common their tokens are, to this power, before beam search (Miao et al. 2015):
    a language model pays for words, and the blank is too cheap for it. `asr lm tune` finds this one too."""
    unknown_penalty: float = 10.0
    """Taken off for each word that a language model of words does not have."""
    closed: bool = False
    """Only words of the language model may come out."""
    hotwords: str | None = None
    """File of phrases to favour, a line each: `phrase` or `phrase<TAB>weight`."""
    grammar: str | None = None
    """File of the only sentences, or words, that may come out, a line each."""
    grammar_of: Literal["sentences", "words"] = "sentences"
    """Whether a line of the grammar is a whole sentence, or a word of which sentences are made."""
    lexicon: str | None = None
    """File of the only words that may come out, a line each: `word` or, CMUdict style, `word TOKEN TOKEN ...`."""
    rescore: str | None = None
    """Folder of an LSTM language model that reorders the 50 best texts of the beam search."""
    rescore_weight: float = Field(0.4, ge=0)
    """Factor of its log-probability."""
    blank_skip: float | None = Field(None, ge=0.5, le=1)
    """Frames whose blank is likelier than this are taken for silence: faster, and not exact."""
    nbest: int = Field(1, ge=1, le=1000)
    """How many different texts beam search returns."""
    word_times: bool = False
    """Align the text, and say when each word was said and how sure it is."""
    window_seconds: float | None = Field(None, ge=1, le=120)
    """Longest piece of a recording that is decoded at once; longer ones are cut, at pauses. Training sets it to the
    length that 95 % of its utterances stay below: a recurrent network hears best what is as long as it is used to."""
    batch_seconds: float = Field(60.0, gt=0)
    """Seconds of audio decoded at once, padding included. A CPU's caches like 30 to 60; a GPU likes more."""

    @model_validator(mode="after")
    def _check_method(self) -> DecodingConfig:
        names = ("lm", "hotwords", "grammar", "lexicon", "rescore")
        wanted = [name for name in names if getattr(self, name) is not None]
        if self.method == "greedy" and wanted:
            raise ValueError(f"{wanted[0]} needs method: beam")
        rules = [name for name in RULES if getattr(self, name) is not None]
        if len(rules) > 1 and not (self.lm is not None and len(rules) == 2 and "lexicon" in rules):
            raise ValueError(
                f"{' and '.join(rules)} exclude each other; give one of them (beside a language model of words a "
                "lexicon and one other)"
            )
        return self


class Config(Section):
    """Everything that defines a model and its training."""

    data: DataConfig = DataConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    features: FeaturesConfig = FeaturesConfig()
    text: TextConfig = TextConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    decoding: DecodingConfig = DecodingConfig()

    @model_validator(mode="after")
    def _check_truncation(self) -> Config:
        if self.training.bptt_frames is None:
            return self
        if self.model.bidirectional:
            raise ValueError(
                f"training.bptt_frames = {self.training.bptt_frames} needs model.bidirectional: false; the backward "
                "direction has its first state only at the end of the recording"
            )
        for name in ("weight_drop", "projection", "residual", "intermediate", "subsampling.depth"):
            if attrgetter(name)(self.model):
                raise ValueError(f"training.bptt_frames cannot be combined with model.{name}")
        if self.model.head != "ctc":
            raise ValueError("training.bptt_frames needs model.head: ctc")
        return self

    @model_validator(mode="after")
    def _check_consistency(self) -> Config:
        if self.training.consistency and self.augmentation.spec_augment is None:
            raise ValueError("training.consistency compares two views under augmentation.spec_augment; switch that on")
        for name in ("consistency", "label_prior"):
            if getattr(self.training, name) and self.model.head != "ctc":
                raise ValueError(f"training.{name} needs model.head: ctc")
        if self.model.head != "attention":
            self.training.refuse_changed(("label_smoothing",), "model.head: attention")
        if not self.model.intermediate:
            self.training.refuse_changed(("intermediate_weight",), "models with model.intermediate")
        return self
