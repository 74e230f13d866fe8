"""Files that are zip archives of parts (OPC, ODF, EPUB OCF, dotLottie), opened under limits and read in memory only."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring, iterparse

from schemas.errors import AssetError

MOST_ENTRIES = 20_000
MOST_BYTES = 2**30
# Office writes about 10:1, sheets of one repeated value 100:1; a bomb has 1,000:1
MOST_RATIO, RATIO_FROM = 250, 16 * 2**20
_ENCRYPTED_FLAG = 1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Package:
    """An archive whose directory has been checked; parts are read whole, and only by name."""

    def __init__(self, archive: zipfile.ZipFile, code: str) -> None:
        self._archive, self._code = archive, code
        self.names = frozenset(archive.namelist())

    def read(self, name: str) -> bytes:
        """The part's bytes, their checksum tried."""
        try:
            return self._archive.read(name)
        except KeyError:
            raise AssetError(self._code, f"its part {name[:100]!r} is missing") from None

    def xml(self, name: str) -> Element:
        """The root of a part of XML. Document types and entities are refused."""
        root: Element = fromstring(self.read(name), forbid_dtd=True)
        return root

    def elements(self, name: str) -> Iterator[tuple[str, Element]]:
        """The part's elements as ("start" or "end", element), for parts too large to hold as a tree."""
        if name not in self.names:
            raise AssetError(self._code, f"its part {name[:100]!r} is missing")
        with self._archive.open(name) as part:
            yield from iterparse(part, events=("start", "end"), forbid_dtd=True)

    def check(self) -> None:
        """Reads every part, which tries its checksum."""
        for name in self._archive.namelist():
            with self._archive.open(name) as part:
                while part.read(2**20):
                    pass


def local(tag: str) -> str:
    """An element's or attribute's name without its namespace."""
    return tag.rpartition("}")[2]


def attribute(element: Element, name: str) -> str | None:
    """The attribute of this local name, in whatever namespace."""
    return next((value for key, value in element.attrib.items() if local(key) == name), None)


def _checked(entries: list[zipfile.ZipInfo], code: str) -> None:
    """Refuses what would unpack to too much, leads out of the archive, or is said twice."""
    if len(entries) > MOST_ENTRIES:
        raise AssetError("unpacks_too_large", f"{len(entries)} entries, limit {MOST_ENTRIES}")
    whole = sum(e.file_size for e in entries)
    if whole > MOST_BYTES:
        raise AssetError("unpacks_too_large", f"{whole} bytes unpacked, limit {MOST_BYTES}")
    for entry in entries:
        if entry.file_size > max(RATIO_FROM, MOST_RATIO * entry.compress_size):
            raise AssetError("unpacks_too_large", f"a part of {entry.file_size} bytes in {entry.compress_size}")
        if entry.flag_bits & _ENCRYPTED_FLAG:
            raise AssetError("encrypted_document", "its parts have a password")
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or entry.compress_type not in _METHODS:
            raise AssetError(code, f"a part named {entry.filename[:100]!r}")
    if len({e.filename for e in entries}) < len(entries):
        raise AssetError(code, "two parts have one name")


@contextmanager
def opened_package(path: Path, code: str = "corrupt_document") -> Iterator[Package]:
    """An archive within the limits; errors of zip and XML within get `code`.

    Raises `code`, truncated (no directory at its end), unpacks_too_large, encrypted_document, decoder_memory.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _checked(archive.infolist(), code)
            yield Package(archive, code)
    except zipfile.BadZipFile as error:
        ends_early = "not a zip file" in str(error)
        raise AssetError("truncated" if ends_early else code, str(error)[:200]) from error
    except (zlib.error, EOFError, ParseError, DefusedXmlException, NotImplementedError, ValueError, OSError) as error:
        raise AssetError(code, f"{type(error).__name__}: {error}"[:200]) from error
    except RecursionError as error:
        raise AssetError(code, "its XML is nested too deep") from error
    except MemoryError as error:
        raise AssetError("decoder_memory") from error
