from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from asr.config import AugmentationConfig, Config, Section, config_keys, load_config, parse_config, save_config
from asr.errors import ConfigError


def written(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def leaf_keys(tree: dict, prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, value in tree.items():
        keys += leaf_keys(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]
    return keys


def test_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "")) == Config()
    assert load_config(written(tmp_path, "# only a comment\n")) == Config()


def test_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    config = load_config(
        written(tmp_path, "model: {cell: gru, subsampling: {factor: 8}}\naugmentation: {speed: {range: [1, 1]}}\n")
    )
    expected = Config().model_dump()
    expected["model"]["cell"] = "gru"
    expected["model"]["subsampling"]["factor"] = 8
    expected["augmentation"]["speed"]["range"] = (1.0, 1.0)
    assert config.model_dump() == expected


@pytest.mark.parametrize(
    ("text", "typo", "nearest"),
    [
        ("model: {dropuot: 0.1}", "model.dropuot", "model.dropout"),
        ("modle: {layers: 2}", "modle", "model"),
        ("training: {learning-rate: 0.1}", "training.learning-rate", "training.learning_rate"),
        (
            "augmentation: {spec_augment: {time_masks: 2}}",
            "augmentation.spec_augment.time_masks",
            "augmentation.spec_augment.time_",
        ),
        ("dropout: 0.1", "dropout", "model.dropout"),
        ("model: {subsampling: {chanels: 4}}", "model.subsampling.chanels", "model.subsampling.channels"),
        ("augmentation: {nois: {probability: 0.5}}", "augmentation.nois", "augmentation.noise'"),
        ("augmentation: {reverb: {}}", "augmentation.reverb", "augmentation.reverberation'"),
        ("noise: {probability: 0.5}", "noise", "augmentation.noise'"),
        ("training: {lr: 0.5}", "training.lr", "training.learning_rate"),
        ("training: {max_seconds: 9}", "training.max_seconds", "data.max_seconds"),
        ("decoding: {beam_size: 9}", "decoding.beam_size", "decoding.beam'"),
    ],
)
def test_unknown_key_is_an_error_that_names_file_and_nearest_key(
    tmp_path: Path, text: str, typo: str, nearest: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert repr(typo) in message
    assert f"did you mean '{nearest}" in message


def test_key_like_no_other_lists_the_sections(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'qqqq'; the sections are data, augmentation, features, text, model, tra"):
        load_config(written(tmp_path, "qqqq: 1"))


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("data: {qqqq: 1}", "unknown key 'data.qqqq'; the keys of data are train, dev, max_seconds, "),
        ("model: {subsampling: {model: 1}}", "the keys of model.subsampling are kind, factor, channels, depth"),
        # Many sections have it, and none of them is likelier than the others.
        ("augmentation: {spec_augment: {probability: 1}}", "the keys of augmentation.spec_augment are frequency_masks"),
    ],
)
def test_key_like_no_other_in_a_section_lists_the_keys_of_the_section(tmp_path: Path, text: str, there: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, text))
    assert there in str(caught.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("training: {epochs: many}", ["training.epochs", "'many'", "integer"]),
        ("training: {epochs: 2.5}", ["training.epochs", "2.5", "integer"]),
        ("features: {sample_rate: [1]}", ["features.sample_rate", "[1]"]),
        ("augmentation: {speed: {range: fast}}", ["augmentation.speed.range", "'fast'"]),
        ("augmentation: {speed: {range: [1]}}", ["augmentation.speed.range"]),
        ("model: 3", ["model", "3"]),
        ("model: {bidirectional: perhaps}", ["model.bidirectional", "'perhaps'"]),
        ("data: {train: 7}", ["data.train", "7", "string"]),
    ],
)
def test_wrong_type_names_key_and_value(tmp_path: Path, text: str, parts: list[str]) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("training: {epochs: 0}", ["training.epochs = 0", "greater than or equal to 1"]),
        ("training: {learning_rate: -0.1}", ["training.learning_rate = -0.1", "greater than 0"]),
        ("training: {learning_rate: .nan}", ["training.learning_rate = nan"]),
        ("data: {max_seconds: .nan}", ["data.max_seconds = nan"]),
        ("model: {dropout: 1}", ["model.dropout = 1", "less than 1"]),
        ("model: {cell: lsmt}", ["model.cell = 'lsmt'", "'lstm'"]),
        ("model: {subsampling: {factor: 5}}", ["model.subsampling.factor = 5", "4, 6 or 8"]),
        ("model: {subsampling: {factor: 3}}", ["model.subsampling", "3", "stack"]),
        ("augmentation: {speed: {range: [1.1, 0.9]}}", ["augmentation.speed", "1.1", "0.9", "low first"]),
        ("augmentation: {speed: {range: [0.1, 1.0]}}", ["augmentation.speed", "0.1"]),
        ("augmentation: {noise: {probability: 2}}", ["augmentation.noise.probability = 2", "less than or equal to 1"]),
        ("augmentation: {no_speech: {probability: 0.6}}", ["augmentation.no_speech.probability = 0.6", "equal to 0.5"]),
        ("augmentation: {no_speech: {seconds: [2, 1]}}", ["augmentation.no_speech", "(2.0, 1.0)", "low first"]),
        ("features: {high_hz: 9000}", ["features", "9000", "8000"]),
        ("features: {low_hz: 4000, high_hz: 4000}", ["features", "4000"]),
        ("features: {hop_ms: 30}", ["features", "30", "25"]),
        ("features: {prior_seconds: 1, normalisation: global}", ["features", "prior_seconds", "global"]),
        ("training: {schedule: none}", ["training.schedule = 'none'", "'cosine'"]),
    ],
)
def test_impossible_value_names_key_value_and_what_is_possible(tmp_path: Path, text: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, text))
    for part in parts:
        assert part in str(caught.value)


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, "model: {dropuot: 0.1, layers: 0}\ntraining: {epochs: many}\n"))
    for part in ("dropuot", "model.layers = 0", "training.epochs = 'many'"):
        assert part in str(caught.value)


def test_value_is_checked_on_assignment_too() -> None:
    config = Config()
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        config.model.layers = 0


def test_defaults_are_not_shared_between_configurations() -> None:
    one, other = Config(), Config()
    one.model.subsampling.factor = 8
    assert other.model.subsampling.factor == Config().model.subsampling.factor == 4


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert "no such configuration file" in str(caught.value)


@pytest.mark.parametrize("text", ["model: {", "a: b: c", "\tmodel: 1", "x: !!python/object/apply:os.getcwd []"])
def test_not_yaml(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(path)


def test_impossible_date_is_not_yaml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load_config(written(tmp_path, "data: {train: 2020-13-45}"))


def test_not_text(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ConfigError, match=r"config\.yaml: cannot be read"):
        load_config(path)


@pytest.mark.parametrize(("text", "kind"), [("- model\n- data\n", "list"), ("model", "str"), ("3", "int")])
def test_top_of_the_file_must_be_sections(tmp_path: Path, text: str, kind: str) -> None:
    with pytest.raises(ConfigError, match=f"expected sections such as `model:`, found {kind}"):
        load_config(written(tmp_path, text))


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("training.epochs=30", "training.epochs", 30),
        ("training.learning_rate=1e-3", "training.learning_rate", 0.001),
        ("model.bidirectional=false", "model.bidirectional", False),
        ("augmentation.speed.range=[0.8, 1.2]", "augmentation.speed.range", (0.8, 1.2)),
        ("augmentation.noise.probability=0.5", "augmentation.noise.probability", 0.5),
        ("data.train=data/an4/train", "data.train", "data/an4/train"),
        ("data.dev=", "data.dev", None),
        ("text.alphabet=a=b", "text.alphabet", "a=b"),
        ("features.high_hz=null", "features.high_hz", None),
        ("augmentation.spec_augment=null", "augmentation.spec_augment", None),
        ("augmentation.spec_augment.frequency_masks=1", "augmentation.spec_augment.frequency_masks", 1),
        ("model.subsampling={kind: stack, factor: 3}", "model.subsampling.factor", 3),
    ],
)
def test_override_parses_its_value_as_yaml(tmp_path: Path, override: str, key: str, value: object) -> None:
    node: object = load_config(written(tmp_path, "training: {epochs: 5}\n"), [override])
    for name in key.split("."):
        node = getattr(node, name)
    assert node == value


def test_last_override_wins_and_the_file_comes_first(tmp_path: Path) -> None:
    path = written(tmp_path, "training: {epochs: 5, seed: 3}\n")
    config = load_config(path, ["training.epochs=6", "training.epochs=7"])
    assert (config.training.epochs, config.training.seed) == (7, 3)


def test_override_switches_a_section_on_again(tmp_path: Path) -> None:
    path = written(tmp_path, "augmentation: {spec_augment: null}\n")
    spec_augment = load_config(path, ["augmentation.spec_augment.frequency_masks=1"]).augmentation.spec_augment
    assert spec_augment is not None
    assert spec_augment.frequency_masks == 1


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("training.epoch=3", ["'training.epoch'", "did you mean 'training.epochs'"]),
        ("epochs=3", ["'epochs'", "did you mean 'training.epochs'"]),
        ("training.epochs.x=3", ["'training.epochs.x'", "training.epochs is a value, not a section"]),
        ("augmentation.nois.probability=1", ["did you mean 'augmentation.noise.probability'?"]),
        ("augmentation.nosie.probabilty=1", ["did you mean 'augmentation.noise.probability'?"]),
        ("optimizer.learning_rate=1", ["did you mean 'training.learning_rate'?"]),
        ("training.epochs", ["section.key=value"]),
        ("=3", ["section.key=value"]),
        ("training.epochs=[", ["not a YAML value"]),
        ("training.epochs=0", ["training.epochs = 0", "greater than or equal to 1"]),
    ],
)
def test_bad_override_says_what_is_wrong(tmp_path: Path, override: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, ""), [override])
    for part in parts:
        assert part in str(caught.value)


def test_override_below_a_value_that_is_no_section(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`training` is 3 in the file, not a section"):
        load_config(written(tmp_path, "training: 3"), ["training.epochs=1"])


@pytest.mark.parametrize(
    "text", ["training: {epochs: 3}\nmodel: {}\ntraining: {clip: 2.0}", "model: {layers: 1, layers: 2}"]
)
def test_what_stands_twice_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml: not valid YAML: '(training|layers)' stands twice .*line \d"):
        load_config(written(tmp_path, text))


def test_saved_configuration_reads_back_equal(tmp_path: Path) -> None:
    config = parse_config(
        {
            "data": {"train": "täg", "max_seconds": float("inf")},
            "augmentation": {"speed": None, "noise": {"probability": 0.5, "range": [3, 9]}, "spec_augment": None},
            "features": {"log_floor": 1e-10, "normalisation": "global", "high_hz": 7600},
            "text": {"alphabet": "aäß'0 「", "case": "keep"},
            "model": {"subsampling": {"kind": "stack", "factor": 3}},
            "training": {"learning_rate": 1e-5},
        }
    )
    path = tmp_path / "config.yaml"
    save_config(config, path)
    assert load_config(path) == config
    assert sorted(leaf_keys(yaml.safe_load(path.read_text()))) == sorted(leaf_keys(config.model_dump()))
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]


def test_keys_are_all_leaves_of_the_tree() -> None:
    # Most are off, and then have no leaves.
    kinds: dict[str, Any] = {name: {} for name in AugmentationConfig.model_fields}
    everything = parse_config({"augmentation": kinds})
    assert sorted(config_keys()) == sorted(leaf_keys(everything.model_dump()))


def test_every_value_is_explained() -> None:
    for section in Section.__subclasses__():
        assert section.__doc__, section
        for name, field in section.model_fields.items():
            is_section = any(
                isinstance(kind, type) and issubclass(kind, BaseModel)
                for kind in (field.annotation, *getattr(field.annotation, "__args__", ()))
            )
            assert is_section or field.description, f"{section.__name__}.{name}"


def test_truncated_backpropagation_needs_one_direction(tmp_path: Path) -> None:
    text = "training: {bptt_frames: 50}\nmodel: {bidirectional: %s}\n"
    assert load_config(written(tmp_path, text % "false")).training.bptt_frames == 50
    with pytest.raises(ConfigError, match=r"yaml: training\.bptt_frames = 50 needs model\.bidirectional: false"):
        load_config(written(tmp_path, text % "true"))


@pytest.mark.parametrize(
    ("override", "owner"),
    [
        ("model.heads=8", "encoder: transformer"),
        ("model.feedforward=8", "encoder: transformer"),
        ("training.plateau_patience=5", "schedule: plateau"),
        ("training.plateau_factor=0.1", "schedule: plateau"),
        ("training.label_smoothing=0", "model.head: attention"),
        ("training.intermediate_weight=0.5", "models with model.intermediate"),
    ],
)
def test_a_setting_of_another_kind_of_model_or_training_is_refused(tmp_path: Path, override: str, owner: str) -> None:
    name = override.split(".")[1].split("=")[0]
    with pytest.raises(ConfigError, match=f"{name} is an option of {owner}"):
        load_config(written(tmp_path, ""), [override])


def test_its_default_says_nothing_and_is_taken(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, ""), ["training.plateau_patience=3", "model.heads=4"]) == Config()


def test_files_may_be_named_by_paths_in_python() -> None:
    config = parse_config({"data": {"train": Path("a/train")}, "decoding": {"method": "beam", "lm": Path("a.lm")}})
    assert (config.data.train, config.decoding.lm) == ("a/train", "a.lm")
    config.decoding.lm = Path("b.lm")  # type: ignore[assignment]
    assert config.model_dump()["decoding"]["lm"] == "b.lm"
