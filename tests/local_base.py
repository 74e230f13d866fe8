"""A stand-in for the image `python:3.11-slim-bookworm`: the files of a slim Debian's packages, and this Python.

The files are those that this machine's own packages have, so nothing is fetched; what a slim image lacks (compilers
and headers above all) is not there.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

# what the image has beside the packages that every Debian has: for Python, and for those who call others
_MORE = (
    *("apt", "ca-certificates", "netbase", "tzdata", "libbz2-1.0", "libdb5.3", "libexpat1", "libffi8", "libgdbm6"),
    *("liblzma5", "libncursesw6", "libnsl2", "libreadline8", "libsqlite3-0", "libssl3", "libuuid1", "zlib1g"),
)
_LEFT_OUT = ("/usr/share/doc", "/usr/share/man", "/usr/share/locale", "/usr/share/info", "/usr/share/lintian")
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"


def make(root: Path) -> None:
    """Makes the image's files in an empty folder."""
    for name in _MERGED:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for name in ("proc", "sys", "dev", "run", "tmp", "var/tmp", "root", "etc", "home"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    _copy(_files(_packages()), root)
    for name in ("passwd", "group"):
        shutil.copy(root / f"usr/share/base-passwd/{name}.master", root / "etc" / name)
    shutil.copytree("/etc/ssl/certs", root / "etc/ssl/certs", symlinks=True, dirs_exist_ok=True)
    (root / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    _python(root)


def _packages() -> set[str]:
    """The essential and required packages, and what these and ours depend on."""
    form = "${Package}\t${Essential}\t${Priority}\t${Pre-Depends}, ${Depends}\n"
    rows = [line.split("\t") for line in _said("dpkg-query", "-W", "-f", form).splitlines()]
    needs = {name: depends for name, _essential, _priority, depends in rows}
    wanted = {name for name, essential, priority, _ in rows if essential == "yes" or priority == "required"}
    found: set[str] = set()
    left = sorted(wanted | set(_MORE) & needs.keys())
    while left:
        found.add(name := left.pop())
        first = [choice.split("|")[0].split("(")[0].split(":")[0].strip() for choice in needs[name].split(",")]
        left += [each for each in first if each in needs and each not in found]
    return found


def _files(packages: set[str]) -> list[str]:
    named = _said("dpkg-query", "-L", *sorted(packages)).splitlines()
    kept = {path for path in named if path.startswith("/") and not path.startswith(_LEFT_OUT)}
    return sorted(path for path in kept if Path(path).is_symlink() or Path(path).is_file())


def _copy(files: list[str], root: Path) -> None:
    """Through tar, which keeps modes and links; paths of before /usr was merged lead into it."""
    listed = "\0".join(path.lstrip("/") for path in files)
    pack = ["tar", "-C", "/", "--null", "-T", "-", "--no-recursion", "-cf", "-"]
    with subprocess.Popen(pack, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as packing:
        unpack = ["tar", "-C", str(root), "--keep-directory-symlink", "-xf", "-"]
        with subprocess.Popen(unpack, stdin=packing.stdout) as unpacking:
            assert packing.stdin is not None
            packing.stdin.write(listed.encode())
            packing.stdin.close()
        assert unpacking.returncode == 0


def _python(root: Path) -> None:
    """This interpreter below /usr/local, with pip, as the image has it."""
    source, local = Path(sys.base_prefix), root / "usr/local"
    (local / "bin").mkdir(parents=True)
    ignored = shutil.ignore_patterns("site-packages", "dist-packages", "test", "config-*", "__pycache__", "idlelib")
    shutil.copytree(source / "lib" / _VERSION, local / "lib" / _VERSION, symlinks=True, ignore=ignored)
    for library in source.glob("lib/libpython3*.so*"):
        shutil.copy(library, local / "lib", follow_symlinks=False)
    shutil.copy(source / "bin" / _VERSION, local / "bin")
    for name in ("python", "python3"):
        (local / "bin" / name).symlink_to(_VERSION)
    machine = f"{platform.machine()}-linux-gnu"
    (root / "etc/ld.so.conf").write_text(f"/usr/local/lib\n/lib/{machine}\n/usr/lib/{machine}\n")
    subprocess.run(["chroot", root, "/sbin/ldconfig"], check=True)
    command = ["chroot", root, "/usr/local/bin/python", "-m", "ensurepip", "--default-pip"]
    subprocess.run(command, check=True, capture_output=True, env={"PATH": "/usr/sbin:/usr/bin"})


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, text=True, capture_output=True).stdout
