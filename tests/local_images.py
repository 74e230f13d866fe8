"""Images and containers without an engine, for tests: layers are folders, and namespaces of Linux do the rest.

Needs root. A container has a mount and a PID namespace, the machine's network, and its user without any capability;
there is no seccomp profile, and no limit of memory or processors.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import local_base
from dockerfile import Config, Dockerfile, Step

ROOT = Path(__file__).parent.parent
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# how this machine reaches package registries, as a build gets its proxies
_REACH = ("PIP_", "UV_INDEX", "UV_DEFAULT_INDEX", "SSL_", "HTTP", "http", "NO_PROXY", "no_proxy")
_OF_MACHINE = ("/etc/resolv.conf", "/etc/ssl", "/etc/pip.conf")
_DAY_S = 86_400.0
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_ENTER = """set -e
cd /
mount -t proc proc "$1/proc"
mount -t tmpfs -o mode=755 tmpfs "$1/dev"
for name in {devices}; do touch "$1/dev/$name"; mount --bind "/dev/$name" "$1/dev/$name"; done
ln -s /proc/self/fd "$1/dev/fd"
mkdir "$1/dev/shm"
mount -t tmpfs -o size=64m,mode=1777 tmpfs "$1/dev/shm"
mount --rbind /sys "$1/sys"
{mounts}
shift
exec "$@"
"""


@dataclass(frozen=True)
class Image:
    """Folders, each over those before it, and what the image says of its processes."""

    layers: tuple[Path, ...]
    config: Config

    def all(self, path: str) -> list[Path]:
        """A file, or the parts of a folder, in the layers that have it. Raises FileNotFoundError."""
        found = [layer / path.lstrip("/") for layer in self.layers if (layer / path.lstrip("/")).exists()]
        if not found:
            raise FileNotFoundError(path)
        return found


@dataclass(frozen=True)
class Mount:
    """A file or folder of this machine at a path of a container."""

    source: Path
    target: str
    read_only: bool = False


class Builder:
    """Builds a Dockerfile's stages on the stand-in for its base.

    Layers are kept in `folder` by what they are made from, as engines do it. `cache` is mounted wherever a step mounts
    one.
    """

    def __init__(self, dockerfile: Dockerfile, folder: Path, cache: Path) -> None:
        self._dockerfile, self._folder, self._cache = dockerfile, folder, cache

    def build(self, name: str) -> Image:
        """The image of a stage."""
        stage = self._dockerfile.stages[name]
        image = self.build(stage.base) if stage.base in self._dockerfile.stages else self._base()
        for step in stage.steps:
            image = self._after(image, step)
        return image

    def _base(self) -> Image:
        made = self._layer([sys.version, Path(local_base.__file__).read_text()], local_base.make)
        return Image((made,), Config(environment={"PATH": PATH}))

    def _after(self, image: Image, step: Step) -> Image:
        config = image.config
        if step.word not in ("COPY", "RUN"):
            return replace(image, config=config.after(step, self._dockerfile.arguments))
        sources = self._sources(step)
        made_from = [*map(str, image.layers), repr(config), repr(step), *map(digest_of, sources)]
        if step.word == "COPY":
            layer = self._layer(made_from, lambda layer: _copy(config, step, sources, layer))
        else:
            layer = self._layer(made_from, lambda layer: self._run(image, step, layer))
        return replace(image, layers=(*image.layers, layer))

    def _sources(self, step: Step) -> list[Path]:
        if step.word == "RUN":
            return []
        *names, _target = step.text.split()
        if "from" in step.options:
            built = self.build(step.options["from"])
            return [part for name in names for part in built.all(name)]
        return [ROOT / name for name in names]

    def _layer(self, made_from: list[str], make: Callable[[Path], None]) -> Path:
        """A layer's folder, which is made unless it is there, whole or not at all."""
        layer = self._folder / hashlib.sha256("\0".join(made_from).encode()).hexdigest()[:16]
        if not layer.exists():
            new = layer.with_suffix(".new")
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            make(new)
            new.rename(layer)
        layer.touch()
        return layer

    def tidy(self) -> None:
        """Removes the layers that no build has used for a day."""
        for layer in self._folder.iterdir():
            if time.time() - layer.stat().st_mtime > _DAY_S:
                shutil.rmtree(layer)

    def _run(self, image: Image, step: Step, layer: Path) -> None:
        cache = (Mount(self._cache, "/root/.cache/uv"),) if "mount" in step.options else ()
        machine = [Mount(Path(path), path) for path in _OF_MACHINE if Path(path).exists()]
        reach = {name: value for name, value in os.environ.items() if name.startswith(_REACH)}
        config = image.config
        shell = ["sh", "-c", f"mkdir -p {config.folder} && cd {config.folder} && {step.text}"]
        environment = {"HOME": "/root", **reach, **config.arguments, **config.environment}
        with tempfile.TemporaryDirectory(dir=self._folder) as scratch:
            command = [*as_root(environment), *shell]
            command = entered(image, (*cache, *machine), command, Path(scratch), writable=layer)
            done = subprocess.run(command, text=True, capture_output=True)
        if done.returncode:
            raise RuntimeError(f"RUN {step.text}\n{done.stdout}\n{done.stderr}")


def digest_of(path: Path) -> str:
    """SHA-256 of a file; of a folder's files and their names, without bytecode; a layer's is its name."""
    if ".services" in path.parts:
        return str(path)
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    hashed = hashlib.sha256()
    for file in (each for each in files if "__pycache__" not in each.parts):
        hashed.update(f"{file.relative_to(path.parent)}\0".encode() + file.read_bytes())
    return hashed.hexdigest()


def _copy(config: Config, step: Step, sources: list[Path], layer: Path) -> None:
    """Files of another stage are linked and not copied: layers never change."""
    target = step.text.split()[-1]
    place = layer / str(Path(config.folder) / target).lstrip("/")
    into = len(step.text.split()) > 2 or target.endswith("/")
    for found in sources:
        to = place / found.name if into else place
        (to if found.is_dir() else to.parent).mkdir(parents=True, exist_ok=True)
        if "from" in step.options:
            subprocess.run(["cp", "-alf", f"{found}/." if found.is_dir() else found, to], check=True)
        elif found.is_dir():
            shutil.copytree(found, to, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(found, to)


def as_root(environment: Mapping[str, str]) -> list[str]:
    """A command's beginning: root's, with this environment alone."""
    return ["env", "-i", *(f"{name}={value}" for name, value in environment.items())]


def as_user(user: int, group: int, groups: Sequence[int], environment: Mapping[str, str]) -> list[str]:
    """A command's beginning: a user's without capabilities, who can get none, with this environment alone."""
    joined = ["--groups", ",".join(map(str, groups))] if groups else ["--clear-groups"]
    drop = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    return ["setpriv", "--reuid", str(user), "--regid", str(group), *joined, *drop, *as_root(environment)]


def entered(
    image: Image,
    mounts: Sequence[Mount],
    command: Sequence[str],
    scratch: Path,
    *,
    writable: Path | None = None,
    folder: str = "/",
    network: bool = True,
) -> list[str]:
    """The command line that runs a command in a container of this image, whose files only `writable` lets change.

    Its process is the only child of what is started, and the first of its PID namespace. `scratch` is an empty folder
    that lives as long.
    """
    root, points, work = (scratch / name for name in ("root", "points", "work"))
    for made in (root, points, work):
        made.mkdir(parents=True)
    for mount in mounts:
        _point(points, mount)
    lower = ":".join(str(layer) for layer in reversed((*image.layers, points)))
    upper = f",upperdir={writable},workdir={work}" if writable else ""
    overlay = f"mount -t overlay overlay -o lowerdir={lower}{upper} {root}\n"
    binds = "\n".join(_bind(root, mount) for mount in mounts)
    script = overlay + _ENTER.format(devices=" ".join(_DEVICES), mounts=binds)
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
    namespaces += [] if network else ["--net"]
    inside = ["chroot", str(root), "sh", "-c", 'cd "$0" && exec "$@"', folder, *command]
    return [*namespaces, "sh", "-c", script, "sh", str(root), *inside]


def _point(points: Path, mount: Mount) -> None:
    target = points / mount.target.lstrip("/")
    if mount.source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()


def _bind(root: Path, mount: Mount) -> str:
    source, target = shlex.quote(str(mount.source)), f'"{root}{mount.target}"'
    again = f"\nmount -o remount,bind,ro {target}" if mount.read_only else ""
    return f"mount --bind {source} {target}{again}"
