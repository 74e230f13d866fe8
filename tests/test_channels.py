"""The folder channel: bundles appear whole or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from uuid import UUID

import pytest

from schemas.asset import Ref
from schemas.errors import AssetError
from schemas.events import Publication
from schemas.ports import Bundle
from sinks.channels import FolderChannel
from sinks.objects import Objects

ASSET = str(UUID(int=7))
FILES = {"video.mp4": b"a video", "captions/en.vtt": b"WEBVTT\n"}


class Setup:
    """A store with the files, and a channel."""

    def __init__(self, folder: Path) -> None:
        self.store, self.root = Objects((folder / "store").as_uri()), folder / "published"
        self.channel = FolderChannel(self.root)
        self.asset = self.root / "t" / ASSET
        for data in FILES.values():
            asyncio.run(self.store.add_bytes("t", data, "a/b"))

    def bundle(self, version: int = 1, files: dict[str, bytes] = FILES) -> Bundle:
        refs = {
            name: Ref(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data), media_type="a/b")
            for name, data in files.items()
        }
        return Bundle(
            asset_id=ASSET, job_id="j", tenant="t", manifest_version=version,
            manifest={"version": version}, files=refs,
        )  # fmt: skip

    def publish(self, version: int = 1, files: dict[str, bytes] = FILES) -> Publication:
        return asyncio.run(self.channel.publish(self.bundle(version, files), self.store))

    def seen(self) -> list[str]:
        return sorted(str(p.relative_to(self.root)) for p in self.root.rglob("*") if not p.is_dir())


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


def test_a_bundle_is_published(setup: Setup) -> None:
    """The version's folder holds the files and the manifest, `current` leads to it."""
    receipt = setup.publish()
    current = setup.asset / "current"
    assert {name: (current / name).read_bytes() for name in FILES} == FILES
    assert json.loads((current / "manifest.json").read_bytes()) == {"version": 1}
    assert (receipt.files, receipt.bytes) == (2, sum(map(len, FILES.values())))
    assert (receipt.channel, receipt.action, receipt.url) == (
        "folder",
        "published",
        (setup.asset / "v1").as_uri(),
    )


def test_publishing_again_changes_nothing(setup: Setup) -> None:
    """The same version again, also many times at once, gives the same receipt and leaves the files alone."""

    async def together() -> list[Publication]:
        return await asyncio.gather(*(setup.channel.publish(setup.bundle(), setup.store) for _ in range(12)))

    receipts = asyncio.run(together())
    before = {p: p.stat().st_mtime_ns for p in setup.asset.rglob("*")}
    receipts.append(setup.publish())
    assert len(set(receipts)) == 1
    assert {p: p.stat().st_mtime_ns for p in setup.asset.rglob("*")} == before


def test_current_never_moves_back(setup: Setup) -> None:
    """An older version that is published late does not become the current one."""
    for version in (2, 1, 10, 9):
        setup.publish(version)
    assert (setup.asset / "current").readlink() == Path("v10")
    assert sorted(p.name for p in setup.asset.iterdir()) == ["current", "v1", "v10", "v2", "v9"]


def test_published_files_are_copies(setup: Setup) -> None:
    """Writing into a published file does not reach the object store."""
    setup.publish()
    (setup.asset / "v1" / "video.mp4").write_bytes(b"edited")
    digest = hashlib.sha256(FILES["video.mp4"]).hexdigest()
    assert asyncio.run(setup.store.read("t", digest)) == FILES["video.mp4"]


def test_a_missing_object_leaves_nothing(setup: Setup) -> None:
    """A bundle that cannot be completed raises its code and leaves no file."""
    with pytest.raises(AssetError) as raised:
        setup.publish(files=FILES | {"gone.mp4": b"never stored"})
    assert raised.value.code == "object_missing"
    assert setup.seen() == []


def test_leftovers_of_a_kill_are_invisible_and_cleared(setup: Setup) -> None:
    """What a process killed before the rename left is no version, and the next publication clears it."""
    half = setup.asset / ".pending-dead"
    half.mkdir(parents=True)
    (half / "video.mp4").write_bytes(b"ha")
    setup.publish()
    names = ["current", "v1"]
    assert sorted(path.name for path in setup.asset.iterdir()) == names


def test_a_lost_link_is_set_on_replay(setup: Setup) -> None:
    """A process killed between the rename and the link leaves a version; publishing again sets the link."""
    setup.publish()
    (setup.asset / "current").unlink()
    setup.publish()
    assert (setup.asset / "current").readlink() == Path("v1")


def test_withdraw_removes_every_version(setup: Setup) -> None:
    """After a withdrawal nothing is left; withdrawing again is no error; publishing works anew."""
    setup.publish(1)
    setup.publish(2)
    asyncio.run(setup.channel.withdraw(ASSET, "t"))
    assert setup.seen() == []
    asyncio.run(setup.channel.withdraw(ASSET, "t"))
    assert setup.publish(3).manifest_version == 3


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "", ".hidden", "manifest.json", "./manifest.json"])
def test_names_stay_in_the_bundle(setup: Setup, name: str) -> None:
    """A file's name that leads out of the bundle or hides its manifest is refused."""
    with pytest.raises(ValueError, match="not a name"):
        setup.publish(files={name: b"a video"})
    assert setup.seen() == []


def test_a_broken_folder_has_a_code(setup: Setup) -> None:
    """A channel that cannot be written is channel_unavailable."""
    setup.root.write_bytes(b"a file where the folder should be")
    with pytest.raises(AssetError) as raised:
        setup.publish()
    assert raised.value.code == "channel_unavailable"
