from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asr.data.download import download, extract
from asr.errors import CorpusError
from tests.servers import Server, serving

BODY = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def server() -> Iterator[Server]:
    """Serves BODY at any path but one."""
    with serving(lambda path: None if path == "/missing" else BODY) as running:
        yield running


def test_whole_file_arrives_under_its_name_and_progress_ends_at_the_total(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    target = download(
        server.url("a"),
        tmp_path / "new" / "a.bin",
        sha256=SHA256,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert target.read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert [path.name for path in target.parent.iterdir()] == ["a.bin"]


def test_broken_connection_is_resumed_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.drops = 2
    target = download(server.url("a"), tmp_path / "a.bin", sha256=SHA256, md5=hashlib.md5(BODY).hexdigest())
    assert target.read_bytes() == BODY
    half = len(BODY) // 2
    assert server.ranges == [None, f"bytes={half}-", f"bytes={half + (len(BODY) - half) // 2}-"]


def test_part_of_an_earlier_run_is_continued(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(BODY[:1000])
    assert download(server.url("a"), tmp_path / "a.bin", sha256=SHA256).read_bytes() == BODY
    assert server.ranges == ["bytes=1000-"]


def test_part_that_is_complete_is_recognised(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(BODY)
    assert download(server.url("a"), tmp_path / "a.bin", sha256=SHA256).read_bytes() == BODY


def test_part_longer_than_the_file_is_dropped_and_read_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(BODY + b"x")
    assert download(server.url("a"), tmp_path / "a.bin", sha256=SHA256).read_bytes() == BODY


def test_server_without_range_is_read_from_the_start(server: Server, tmp_path: Path) -> None:
    server.drops = 1
    assert download(server.url("no-range"), tmp_path / "a.bin", sha256=SHA256).read_bytes() == BODY
    assert len(server.ranges) == 2


def test_passing_server_error_is_tried_again(server: Server, tmp_path: Path) -> None:
    server.unavailable = 2
    assert download(server.url("a"), tmp_path / "a.bin", sha256=SHA256).read_bytes() == BODY


def test_lasting_server_error_names_url_status_and_remedy(server: Server, tmp_path: Path) -> None:
    server.unavailable = 10
    with pytest.raises(CorpusError, match=r"/a: HTTP 503 .* after 3 attempts; .*--source DIR") as error:
        download(server.url("a"), tmp_path / "a.bin", sha256=SHA256, retries=2)
    assert server.url("a") in str(error.value)


def test_giving_up_keeps_the_part_for_the_next_run(server: Server, tmp_path: Path) -> None:
    server.drops = 1
    with pytest.raises(CorpusError, match=r"ended after \d+ of 1024000 bytes, after 1 attempts .*a\.bin\.part is kept"):
        download(server.url("a"), tmp_path / "a.bin", sha256=SHA256, retries=0)
    assert not (tmp_path / "a.bin").exists()
    assert download(server.url("a"), tmp_path / "a.bin", sha256=SHA256, retries=0).read_bytes() == BODY


def test_only_attempts_that_bring_nothing_count(server: Server, tmp_path: Path) -> None:
    server.drops = 10
    assert download(server.url("a"), tmp_path / "a.bin", sha256=SHA256, retries=1).read_bytes() == BODY
    assert len(server.ranges) == 11


def test_404_is_final_and_says_what_to_do(server: Server, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"missing: HTTP 404 Not Found; .*--source DIR"):
        download(server.url("missing"), tmp_path / "a.bin", sha256=None)
    assert len(server.ranges) == 1
    assert list(tmp_path.iterdir()) == []


def test_unreachable_server_is_named(server: Server, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"http://127\.0\.0\.1:1/a: .*refused.*after 2 attempts; .*--source DIR"):
        download("http://127.0.0.1:1/a", tmp_path / "a.bin", sha256=None, retries=1)


@pytest.mark.parametrize("checksum", [{"sha256": "0" * 64}, {"sha256": None, "md5": "0" * 32}])
def test_wrong_checksum_leaves_nothing_behind(server: Server, tmp_path: Path, checksum: dict[str, str]) -> None:
    with pytest.raises(CorpusError, match=r"(sha256|md5) is [0-9a-f]+, expected 0+ for http.*--source DIR"):
        download(server.url("a"), tmp_path / "a.bin", **checksum)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_file_that_is_there_already_is_checked_and_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(BODY)
    download(server.url("a"), tmp_path / "a.bin", sha256=SHA256)
    (tmp_path / "a.bin").write_bytes(b"other")
    with pytest.raises(CorpusError, match=r"Delete it and run again"):
        download(server.url("a"), tmp_path / "a.bin", sha256=SHA256)
    assert server.ranges == []
    assert (tmp_path / "a.bin").read_bytes() == b"other"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_is_named_and_not_tried_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").symlink_to("/dev/full")
    with pytest.raises(CorpusError, match=r"a\.bin\.part: cannot be written \(No space left on device\); make room"):
        download(server.url("a"), tmp_path / "a.bin", sha256=SHA256)
    assert len(server.ranges) == 1


def test_only_web_addresses_are_fetched(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="not an http or https address"):
        download("file:///etc/hostname", tmp_path / "a", sha256=None)


def tar_gz(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def zip_file(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as zipped:
        for name, content in members.items():
            zipped.writestr(name, content)
    return path


Maker = Callable[[Path, dict[str, bytes]], Path]
ARCHIVES = pytest.mark.parametrize(("make", "name"), [(tar_gz, "a.tar.gz"), (zip_file, "a.zip")])


@ARCHIVES
def test_archive_is_unpacked_once(tmp_path: Path, make: Maker, name: str) -> None:
    archive = make(tmp_path / name, {"top/deep/a.txt": b"one", "top/b.txt": b"two"})
    out = extract(archive, tmp_path / "out")
    assert (out / "top/deep/a.txt").read_bytes() == b"one"
    assert (out / "top/b.txt").read_bytes() == b"two"
    (out / "top/b.txt").unlink()
    extract(archive, out)
    assert not (out / "top/b.txt").exists(), "the marker says that all was unpacked"
    make(tmp_path / name, {"top/b.txt": b"three, of a newer archive"})
    extract(archive, out)
    assert (out / "top/b.txt").read_bytes().startswith(b"three")


@ARCHIVES
def test_member_outside_the_folder_is_refused(tmp_path: Path, make: Maker, name: str) -> None:
    archive = make(tmp_path / name, {"good.txt": b"good", "../evil.txt": b"evil"})
    with pytest.raises(CorpusError, match=rf"{name}: refused to unpack, .*outside the folder.*"):
        extract(archive, tmp_path / "deep" / "out")
    assert not (tmp_path / "deep" / "evil.txt").exists()
    assert not list((tmp_path / "deep" / "out").glob(".*unpacked*"))


def test_link_outside_the_folder_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "../../secret"
        tar.addfile(link)
    with pytest.raises(CorpusError, match="refused to unpack"):
        extract(tmp_path / "a.tar.gz", tmp_path / "out")
    assert not (tmp_path / "out" / "link").is_symlink()


@ARCHIVES
def test_truncated_archive_is_damaged_and_leaves_no_marker(tmp_path: Path, make: Maker, name: str) -> None:
    # Bytes that do not compress, so that half the file is half the content.
    noise = b"".join(hashlib.sha256(bytes([i, j])).digest() for i in range(50) for j in range(50))
    archive = make(tmp_path / name, {"a.bin": noise})
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(CorpusError, match=rf"{name}: .*(damaged|neither a tar nor a zip).*delete it and run again"):
        extract(archive, tmp_path / "out")
    assert not list((tmp_path / "out").glob(".*unpacked*"))


def test_damaged_zip_member_is_found(tmp_path: Path) -> None:
    archive = zip_file(tmp_path / "a.zip", {"a.txt": b"content to damage"})
    archive.write_bytes(archive.read_bytes().replace(b"content to", b"content TO"))
    with pytest.raises(CorpusError, match=r"a\.zip: the archive is damaged \(Bad CRC"):
        extract(archive, tmp_path / "out")


def test_web_page_instead_of_an_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_text("<html>Please log in</html>")
    with pytest.raises(CorpusError, match="neither a tar nor a zip archive"):
        extract(tmp_path / "a.tar.gz", tmp_path / "out")
    with pytest.raises(CorpusError, match=r"none\.zip: cannot be read"):
        extract(tmp_path / "none.zip", tmp_path / "out")
