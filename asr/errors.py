"""The errors a user can mend: each message names the file, the utterance or line, the value and the remedy."""


class AsrError(Exception):
    """Base of every error `asr` raises on purpose; the command line prints its message without a traceback."""


class AudioError(AsrError):
    """A recording that cannot be read, decoded or used."""


class TextError(AsrError):
    """A transcript that the alphabet cannot spell, or a token table that is broken."""


class ConfigError(AsrError):
    """A configuration with an unknown key, a wrong type or an impossible value."""


class ManifestError(AsrError):
    """A manifest that cannot be read, or that holds an unusable utterance."""


class CorpusError(AsrError):
    """A corpus whose download failed or whose folder does not have the official layout."""


class CheckpointError(AsrError):
    """A model folder or training checkpoint that is missing, truncated or foreign."""


class ScoringError(AsrError):
    """References and hypotheses that cannot be compared."""


class LanguageModelError(AsrError):
    """A language model that cannot be read, trained, or used for what was asked."""


class DecodingError(AsrError):
    """Log-probabilities that cannot be decoded."""


class AlignmentError(AsrError):
    """Text that cannot be aligned to its audio."""


class OutputError(AsrError):
    """A result that cannot be written: a full disk, a folder without permission."""


class TrainingError(AsrError):
    """A training that cannot start or cannot go on."""


class Interrupted(AsrError):
    """Ctrl-C or SIGTERM stopped a training; its state is saved."""
