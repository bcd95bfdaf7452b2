from __future__ import annotations

import json
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from asr.data.manifest import Utterance, write_manifest
from asr.data.statistics import save_statistics, statistics
from asr.errors import ManifestError, OutputError

REPOSITORY = Path(__file__).resolve().parents[2]


def utterance(
    name: str,
    seconds: float,
    text: str | None = None,
    speaker: str | None = None,
    audio: str = "a.wav",
    rate: int = 16000,
) -> Utterance:
    return Utterance(name, Path("/audio") / audio, seconds, rate, text, speaker)


def written(folder: Path, *items: Utterance) -> Path:
    write_manifest(folder / "cuts.jsonl", items)
    return folder


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    """Two manifests, counted by hand below."""
    one = written(
        tmp_path / "one",
        utterance("a", 2.0, "Yes  it is", "ann"),  # 9 characters as it is heard, 3 words
        utterance("b", 4.0, "yes", "bob", "b.FLAC", 8000),
        utterance("c", 6.0, "", "ann"),
    )
    other = written(tmp_path / "two", utterance("d", 8.0), utterance("e", 1.0, "it’s é", "ann", "noending"))
    return [one, other]


def test_counts_are_those_of_a_hand(two: list[Path]) -> None:
    found = statistics(two)
    numbers = found.to_dict()
    assert [(m.path, m.utterances, m.seconds, m.speakers) for m in found.manifests] == [
        (two[0], 3, 12.0, 2),
        (two[1], 2, 9.0, 1),
    ]
    assert (numbers["utterances"], numbers["hours"]) == (5, 21 / 3600)
    assert found.speaker_seconds == {"ann": 9.0, "bob": 4.0}
    assert (numbers["speakers"], numbers["without_speaker"]) == (2, 1)
    assert numbers["minutes_per_speaker"]["p50"] == pytest.approx(6.5 / 60)
    assert (numbers["without_text"], numbers["empty_texts"]) == (1, 1)
    assert found.character_rates.tolist() == [9 / 2, 3 / 4, 6 / 1]
    assert found.word_rates.tolist() == [3 / 2, 1 / 4, 2 / 1]
    assert (numbers["words"], numbers["vocabulary"]) == (6, 5)
    assert next(iter(numbers["top_words"].items())) == ("yes", 2)
    assert numbers["top_words"] == {"yes": 2, "is": 1, "it": 1, "it's": 1, "é": 1}
    # The alphabet is not normalised: what stands in the transcripts is what has to be seen.
    assert numbers["alphabet"] == Counter("Yes  it is" + "yes" + "it’s é")
    assert numbers["characters"] == 19
    assert numbers["sample_rates"] == {"16000": 4, "8000": 1}
    assert numbers["formats"] == {"wav": 3, "flac": 1, "none": 1}
    assert [item["id"] for item in numbers["shortest"]] == ["e", "a", "b"]
    assert numbers["longest"] == [{"id": i, "seconds": s} for i, s in (("d", 8.0), ("c", 6.0), ("b", 4.0))]
    assert [item["id"] for item in numbers["slowest"]] == ["b", "a", "e"]
    assert numbers["fastest"][0] == {"id": "e", "characters_per_second": 6.0}


def test_percentiles_are_those_of_numpy(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    seconds = rng.gamma(4, 1, 500)
    texts = [" ".join(["word"] * count) for count in rng.integers(1, 20, 500)]
    speakers = [f"s{number}" for number in rng.integers(0, 20, 500)]
    items = [
        utterance(f"u{i}", length, text, speaker)
        for i, (length, text, speaker) in enumerate(zip(seconds.tolist(), texts, speakers, strict=True))
    ]
    numbers = statistics([written(tmp_path, *items)]).to_dict()
    words = np.array([len(text.split()) for text in texts])
    minutes = [seconds[np.array(speakers) == name].sum() / 60 for name in set(speakers)]
    for key, values in (
        ("seconds", seconds),
        ("characters_per_second", (5 * words - 1) / seconds),
        ("words_per_second", words / seconds),
        ("minutes_per_speaker", minutes),
    ):
        for name, percentage in (("min", 0), ("p1", 1), ("p5", 5), ("p50", 50), ("p95", 95), ("p99", 99), ("max", 100)):
            assert numbers[key][name] == pytest.approx(np.quantile(values, percentage / 100)), (key, name)
        assert numbers[key]["mean"] == pytest.approx(np.mean(values))
    assert numbers["slowest"][0]["id"] == f"u{np.argmin((5 * words - 1) / seconds)}"
    assert [item["id"] for item in numbers["shortest"]] == [f"u{i}" for i in np.argsort(seconds)[:3]]
    assert [item["id"] for item in numbers["longest"]] == [f"u{i}" for i in np.argsort(-seconds)[:3]]


def test_real_corpus_is_counted_as_its_lines_say() -> None:
    path = REPOSITORY / "data" / "an4" / "train" / "cuts.jsonl"
    if not path.is_file():
        pytest.skip("data/an4 is not there; `asr prepare an4` makes it")
    cuts = [json.loads(line) for line in path.read_text().splitlines()]
    texts = [cut["supervisions"][0]["text"] for cut in cuts]
    numbers = statistics([path]).to_dict()
    assert numbers["utterances"] == len(cuts)
    assert numbers["hours"] == pytest.approx(sum(cut["duration"] for cut in cuts) / 3600)
    assert numbers["speakers"] == len({cut["supervisions"][0]["speaker"] for cut in cuts})
    assert numbers["words"] == len(" ".join(texts).split())
    assert dict(list(numbers["top_words"].items())[:5]) == dict(Counter(" ".join(texts).split()).most_common(5))
    assert numbers["alphabet"] == Counter("".join(texts))


def test_manifest_without_transcripts_and_speakers_has_the_rest(tmp_path: Path) -> None:
    numbers = statistics([written(tmp_path, utterance("a", 2.0))]).to_dict()
    assert numbers["seconds"] == dict.fromkeys(["min", "p1", "p5", "p50", "p95", "p99", "max", "mean"], 2.0)
    assert numbers["characters_per_second"] is numbers["words_per_second"] is numbers["minutes_per_speaker"] is None
    assert (numbers["words"], numbers["alphabet"], numbers["fastest"]) == (0, {}, [])


def test_manifest_without_utterances_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no utterance in .*so there is nothing to count"):
        statistics([written(tmp_path)])


def colours(path: Path) -> int:
    return len(np.unique(imread(path).reshape(-1, 4), axis=0))


@pytest.mark.parametrize("speakers", [0, 1, 5, 29, 400])
def test_numbers_and_picture_are_written_for_any_number_of_speakers(tmp_path: Path, speakers: int) -> None:
    rng = np.random.default_rng(0)
    items = [
        utterance(
            f"u{i}",
            rng.gamma(4),
            "so much" if speakers else None,
            f"the ${i % speakers}_speaker{100 * 'x'}" if speakers else None,
        )
        for i in range(500)
    ]
    items.append(utterance("long", 1000.0, "endless"))
    found = statistics([written(tmp_path, *items)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        numbers, picture = save_statistics(found, tmp_path / "out")
    assert json.loads(numbers.read_text()) == found.to_dict()
    assert imread(picture).shape == (700, 1100, 4)
    assert colours(picture) > 50
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["statistics.json", "statistics.png"]


def test_place_that_cannot_be_written_is_named(tmp_path: Path, two: list[Path]) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"file/out/statistics\.json: cannot be written"):
        save_statistics(statistics(two), tmp_path / "file" / "out")
    (tmp_path / "out" / "statistics.png").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"out/statistics\.png: is a folder; name a file"):
        save_statistics(statistics(two), tmp_path / "out")
