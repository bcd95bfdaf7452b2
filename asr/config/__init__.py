"""The configuration: one tree of pydantic models, read from YAML."""

from asr.config.augmentation import (
    AugmentationConfig,
    ClippingConfig,
    CodecConfig,
    GainConfig,
    NoiseConfig,
    NoSpeechConfig,
    Perturbation,
    PitchConfig,
    ReverberationConfig,
    SilenceConfig,
    SpecAugmentConfig,
    SpeedConfig,
    TelephoneConfig,
    TempoConfig,
)
from asr.config.features import FeaturesConfig
from asr.config.files import config_keys, load_config, parse_config, read_yaml, save_config
from asr.config.section import Section
from asr.config.tree import (
    Config,
    DataConfig,
    DecodingConfig,
    ModelConfig,
    SubsamplingConfig,
    TextConfig,
    TrainingConfig,
)

__all__ = [
    "AugmentationConfig",
    "ClippingConfig",
    "CodecConfig",
    "Config",
    "DataConfig",
    "DecodingConfig",
    "FeaturesConfig",
    "GainConfig",
    "ModelConfig",
    "NoSpeechConfig",
    "NoiseConfig",
    "Perturbation",
    "PitchConfig",
    "ReverberationConfig",
    "Section",
    "SilenceConfig",
    "SpecAugmentConfig",
    "SpeedConfig",
    "SubsamplingConfig",
    "TelephoneConfig",
    "TempoConfig",
    "TextConfig",
    "TrainingConfig",
    "config_keys",
    "load_config",
    "parse_config",
    "read_yaml",
    "save_config",
]
