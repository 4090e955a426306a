"""Archives in buckets and on hosts: what is made of them, and how much of them is fetched for it."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgebird.errors import UsageError
from edgebird.fingerprint import fingerprint
from edgebird.remote import storage
from edgebird.remote.path import RemotePath, place
from edgebird.remote.storage import RemoteStorage
from edgebird.sources import FileSource, find_audio
from tests.foreign import RATE
from tests.remote_places import PASSWORD, Bucket, bucket, host
from tests.test_resume import archive, birds, detect, edgebird
from tests.test_spans import HOW, Loudness, Workers, assert_same, both

__all__ = ["birds"]


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def there(patch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with bucket(patch) as there:
        yield there


def put(folder: Path, url: str) -> str:
    """Put a folder there; its URL."""
    for path in folder.rglob("*.*"):
        if path.is_file():
            place(Path(f"{url}/{path.relative_to(folder)}")).put(path)  # type: ignore[attr-defined]
    return url


def _not_installed(scheme: str) -> None:
    raise ImportError("Install s3fs to access S3")


def texts(url: str, suffix: str = ".csv") -> dict[str, str]:
    """All files there that end so, with what is in them, by their names."""
    folder = place(Path(url))
    assert isinstance(folder, RemotePath)
    return {name: (folder / name).open().read().decode() for name in folder.find() if name.endswith(suffix)}


def test_a_url_is_a_path_without_its_login(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are told and stored everywhere; a password in one would be, too."""
    monkeypatch.setattr(storage, "_logins", {})
    path = place(Path("sftp://bob:se%2Fcret@example.org:2222/data/a b.wav"))
    assert isinstance(path, RemotePath)
    assert str(path) == "sftp://example.org:2222/data/a b.wav"
    assert (path.name, path.below, str(path.parent / "c")) == (
        "a b.wav",
        "data/a b.wav",
        "sftp://example.org:2222/data/c",
    )
    assert str(path.relative_to(path.parents[1])) == "data/a b.wav"
    assert pickle.loads(pickle.dumps(path)) == path  # noqa: S301
    assert storage.logins()["example.org:2222"].password == "se/cret"
    assert "se/cret" not in repr(storage.logins())
    assert place(Path("folder/s3:/x")) == Path("folder/s3:/x")
    for wrong in ("sftp://eve@example.org:2222/data", "s3://bob:x@bucket/data"):
        with pytest.raises(UsageError) as problem:
            place(Path(wrong))
        assert "bob" not in str(problem.value)


def test_an_archive_in_a_bucket_is_as_one_on_a_disk(tmp_path: Path, there: Bucket, birds: Path) -> None:
    """Tables, what is done already, what changed, parts of it; and none of it is fetched again to see that."""
    audio, out = archive(tmp_path / "audio", 3), f"{there.url}/out"
    common = ("--bundle", birds, "--format", "csv", "--out")
    assert detect(audio, *common, tmp_path / "out")[0] == 0
    wanted = (put(audio, f"{there.url}/audio"), *common, out, "--resume")
    for number in (1, 2):
        assert detect(*wanted, "--shard", f"{number}/2")[0] == 0
    here = {str(path.relative_to(tmp_path / "out")): path.read_text() for path in (tmp_path / "out").rglob("*.csv")}
    assert texts(out) == {name: text.replace(str(audio), f"{there.url}/audio") for name, text in here.items()}
    there.fetched = 0
    assert detect(*wanted) == (0, "3 of 3 recordings are done already\n")
    assert there.fetched < 2000, "journals alone are read"
    changed = archive(tmp_path / "other", 2) / "R1" / "20230501_000001.wav"
    place(Path(f"{there.url}/audio/R0/20230501_000000.wav")).put(changed)  # type: ignore[attr-defined]
    assert detect(*wanted)[1].startswith("2 of 3 recordings are done already\n")


def test_a_dataset_in_a_bucket_is_as_one_on_a_disk_whatever_ended_the_run(
    tmp_path: Path, there: Bucket, birds: Path
) -> None:
    """What a killed program had in its spool is lost with its machine, and done again."""
    from tests.test_dataset import _killed, everything

    audio, out = archive(tmp_path / "audio", 3), f"{there.url}/season"
    common = ("--bundle", birds, "--format", "parquet", "--scores", "0.4", "--out")
    wanted = (put(audio, f"{there.url}/audio3"), *common, out, "--resume")
    detect(wanted[0], *common, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as killed:
        killed.setattr("edgebird.archives.parquet_sink.merge", _killed)
        detect(*wanted)
    with pytest.MonkeyPatch.context() as killed:  # once more, as soon as it has begun
        killed.setattr("edgebird.cli.job.process", _killed)
        assert detect(*wanted)[0] == 1
    assert detect(*wanted)[0] == 0
    assert detect(*wanted) == (0, "3 of 3 recordings are done already\n")
    code, told, _ = edgebird("export-table", out, "--format", "jsonl")
    assert (code, told.count('"summary"')) == (0, 3)
    code, told, _ = edgebird("export-table", out, "--format", "csv")
    assert f",{wanted[0]}/" in told, "the path of a recording is none"
    folder = place(Path(out))
    assert isinstance(folder, RemotePath)
    for name in folder.find():
        path = tmp_path / "copy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((folder / name).open().read())
    assert everything(tmp_path / "copy") == everything(tmp_path / "whole")


class ListedHost:
    """What `_on_host` asks of fsspec: folders by path -> what they have, or what listing them raises."""

    def __init__(self, folders: dict[str, list[tuple[str, str]] | OSError], links: dict[str, str]) -> None:
        self._folders, self._links, self.ftp = folders, links, self

    def normalize(self, folder: str) -> str:
        return self._links.get(folder, folder)

    def ls(self, folder: str, detail: bool) -> list[dict[str, str]]:
        listed = self._folders[self.normalize(folder)]
        if isinstance(listed, OSError):
            raise listed
        return [{"name": f"{folder}/{name}", "type": kind} for name, kind in listed]

    def info(self, path: str) -> dict[str, str]:
        if path not in self._links:
            raise FileNotFoundError(path)
        return {"name": path, "type": "directory"}


def test_a_folder_that_cannot_be_listed_is_not_an_empty_one(caplog: pytest.LogCaptureFixture) -> None:
    """A season would end with exit code 0 and half of it never scored."""
    folders: dict[str, list[tuple[str, str]] | OSError] = {
        "/a": [("r1", "directory"), ("r2", "directory"), ("gone.wav", "link"), ("again", "link"), (".x", "directory")],
        "/a/r1": [("x.wav", "file")],
        "/a/r2": PermissionError("no"),
        "/a/.x": [],
    }
    host = ListedHost(folders, {"/a/again": "/a"})
    assert list(storage._on_host(host, "/a", "sftp://h")) == ["r1/x.wav"]
    assert "sftp://h/a/r2: left out, no permission" in caplog.text
    folders["/a/r2"] = OSError("Socket is closed")
    with pytest.raises(OSError, match="Socket is closed"):
        storage._on_host(host, "/a", "sftp://h")


@pytest.mark.parametrize(
    "url", ["sftp://user:pa/ss@host/rec", "sftp://user:secret@host:port/rec", "SFTP://user:1/ss@host/rec"]
)
def test_an_address_that_is_none_is_not_told(url: str) -> None:
    """A password may be in it."""
    with pytest.raises(UsageError, match="wanted USER:PASSWORD@HOST") as refused:
        place(Path(url))
    assert not {"secret", "pa", "ss"} & set(str(refused.value).replace("/", " ").replace("@", " ").split())


def test_what_is_kept_on_this_machine_alone_refuses_a_url(tmp_path: Path) -> None:
    """A folder called `s3:` would be made here, and results land in it."""
    from edgebird.remote.path import here
    from edgebird.settings.build import station_settings

    with pytest.raises(UsageError, match="of this machine"):
        here(Path("s3://season/t.csv"), "--submission")
    with pytest.raises(UsageError, match="a path of this machine"):
        station_settings(None, {"bundle": tmp_path, "output.log": "s3://season/log"}, ())
    assert here(tmp_path, "--submission") == tmp_path


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_neither_a_header_nor_a_span_is_a_download(tmp_path: Path, there: Bucket, suffix: str) -> None:
    """Gigabytes would be fetched to know how long recordings are, or for five minutes of a day."""
    path = tmp_path / f"20230501_000000.{suffix}"
    rate = 48000
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 200 * rate), rate)
    url = Path(put(tmp_path, f"{there.url}/long-{suffix}"))
    ((found,), _) = find_audio([url])
    there.fetched = 0
    source = FileSource(found.path, rate)
    assert (source.duration_s, there.fetched < path.stat().st_size / 4) == (200, True)
    there.fetched = 0
    start = source.start_before(150 * rate)
    block = next(source.blocks(start=start))
    whole, _ = soundfile.read(path, dtype="float32")
    assert (block.start, there.fetched < path.stat().st_size / 2) == (start, True)
    assert np.array_equal(block.samples, whole[start : block.end])
    here = list(FileSource(path, rate).blocks())
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(here, source.blocks(), strict=True))
    assert there.fetched < 1.5 * path.stat().st_size
    assert fingerprint(found.path, found.listed) == fingerprint(found.path)


def test_workers_read_their_spans_from_a_bucket(tmp_path: Path, there: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster whose machines have no common disk."""
    monkeypatch.setattr("edgebird.archives.distributing._SPAN_S", 5.0)
    loud = np.repeat(np.random.default_rng(0).uniform(-1, 1, 30), 11025)
    soundfile.write(tmp_path / "a.flac", loud, 11025)
    runtime = Loudness()
    workers = Workers(runtime, HOW)
    alone, together = both(Path(put(tmp_path, f"{there.url}/spans")), workers, runtime)
    assert_same(together, alone)
    assert workers.given > 3


def test_a_network_that_fails_makes_no_recording_incomplete(
    tmp_path: Path, there: Bucket, birds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be taken for cut off, and done."""
    audio = archive(tmp_path / "audio", 1)
    path = audio / "R0" / "20230501_000000.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 120 * RATE), RATE)
    wanted = (put(audio, f"{there.url}/audio5"), "--bundle", birds, "--out", tmp_path / "out", "--resume")
    read = RemoteStorage.read

    def fails(self: RemoteStorage, name: str, start: int, end: int) -> bytes:
        if 0 < start < path.stat().st_size // 2 + (1 << 20):
            raise OSError(5, "the network is down")
        return read(self, name, start, end)

    with monkeypatch.context() as down:
        down.setattr(RemoteStorage, "read", fails)
        code, told = detect(*wanted)
    assert (code, "the network is down" in told, "cut off" in told) == (1, True, False)
    assert detect(*wanted)[0] == 0


def test_what_is_not_there_is_said_in_one_line(
    tmp_path: Path, there: Bucket, birds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = archive(tmp_path / "audio", 1)
    wanted = {
        ("s3://nobody/x",): "cannot read s3://nobody/x: no such bucket",
        ("s3://birds/none",): "cannot read s3://birds/none: no such file",
        (audio, "--out", "s3://nobody/out"): "cannot write s3://nobody/out: no such bucket",
        (audio, "--format", "parquet", "--out", "s3://nobody/out"): "cannot write s3://nobody/out: no such bucket",
        ("sftp://127.0.0.1:1/x",): "cannot read sftp://127.0.0.1:1/x: unable to connect to port 1 on 127.0.0.1",
    }
    for arguments, line in wanted.items():
        code, told = detect(*arguments, "--bundle", birds)
        assert (code, told.splitlines()[0]) == (1, f"error: {line}")
    monkeypatch.setattr("fsspec.get_filesystem_class", _not_installed)
    monkeypatch.setattr(storage, "_storages", {})
    code, told = detect("s3://birds/x", "--bundle", birds)
    assert (code, "pip install 'edgebird[remote]'" in told, told.count("\n")) == (1, True, 1)


def test_a_host_is_as_a_disk_and_nobody_is_told_the_password(
    tmp_path: Path, birds: Path, caplog: pytest.LogCaptureFixture
) -> None:
    audio = archive(tmp_path / "audio", 2)
    with pytest.MonkeyPatch.context() as patch, host(patch, tmp_path) as url:
        wanted = (f"{url}/audio", "--bundle", birds, "--format", "csv", "--out", f"{url}/out", "--resume")
        assert detect(*wanted)[0] == 0
        detect(audio, *wanted[1:5], tmp_path / "here")
        assert detect(*wanted) == (0, "2 of 2 recordings are done already\n")
        code, told = detect(f"{url}/none", *wanted[1:])
        assert (code, told.count("no such file")) == (1, 1)
        (tmp_path / "home" / ".ssh" / "known_hosts").write_text("")
        patch.setattr(storage, "_storages", {})
        code, stranger = detect(*wanted)
        assert (code, "is not in known_hosts" in stranger) == (1, True)
    secret = [path for path in tmp_path.rglob("*") if path.is_file() and PASSWORD in path.read_text("latin-1")]
    assert not secret
    assert PASSWORD not in told + stranger + caplog.text
    where = url.partition("@")[2]
    for path in (tmp_path / "here").rglob("*.csv"):
        there = (tmp_path / "out" / path.relative_to(tmp_path / "here")).read_text()
        assert there == path.read_text().replace(str(audio), f"sftp://{where}/audio")
    assert not list((tmp_path / "out").rglob("*.part"))


def test_a_host_that_closed_the_connection_is_asked_anew(tmp_path: Path) -> None:
    """A season takes weeks, and servers are started again."""
    (tmp_path / "a.txt").write_text("abc")
    with pytest.MonkeyPatch.context() as patch, host(patch, tmp_path) as url:
        path = place(Path(f"{url}/a.txt"))
        assert isinstance(path, RemotePath)
        patch.setattr(storage, "_PAUSE_S", 0.0)
        assert path.status().size == 3
        path.storage._fs.client.close()
        assert path.open().read() == b"abc"
