"""Search by words and by example, in both indexes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import kept_runs
import numpy as np
import pytest
from indexes import weaviate_index, weaviate_url
from typer.testing import CliRunner

from dataflows import cli, search
from operators.models import registry
from schemas import ids
from schemas.ports import Filter, Hit, IndexEntry, VectorIndex
from schemas.routing import PROFILES, Task
from sinks.lance import LanceIndex

ROUTING = PROFILES["lite"]
TEXT = next(r for r in ROUTING.routes if r.task == Task.TEXT_EMBEDDING)
PICTURES = next(r for r in ROUTING.routes if r.task == Task.IMAGE_TEXT_BRIDGE)

# Python's own manual, as documents with pages and recordings with times; and pictures that are found by labels
DOCUMENTS = sorted(topics)[:24]
RECORDINGS = sorted(topics)[24:48]
LABELS = [
    "tabby cat", "golden retriever", "space shuttle", "sports car", "steam locomotive", "espresso", "grand piano",
    "lighthouse", "sea lion", "hot air balloon", "mountain tent", "laptop computer", "wine bottle", "school bus",
]  # fmt: skip
PASSAGE, PASSAGES = 40, 6

QUERIES = [
    "how is an exception handled",
    "format specification of strings",
    "comparing two objects",
    "binary arithmetic operations on integers",
    "debugger breakpoints",
    "import a module",
    "closing a file when the block ends",
    "iterate over a list",
    "rocket launch into space",
    "a dog or a cat",
    "old railway",
    "attribute access on classes",
    "floating point literals",
    "coroutine await",
]


def passages(topic: str) -> list[str]:
    """The beginning of a topic, in pieces."""
    words = re.sub(r"[*=`~^-]{2,}", " ", topics[topic]).split()
    return [" ".join(words[i : i + PASSAGE]) for i in range(0, len(words), PASSAGE)][:PASSAGES]


def moments() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each entry's space, and its fields but the vector."""
    for topic in DOCUMENTS:
        for page, text in enumerate(passages(topic), 1):
            known = {"kind": "document", "language": "en", "tags": ("manual", topic[0]), "title": topic}
            yield TEXT.space, {"asset_id": topic, "moment": f"page/page-{page}/0", "page": page, "text": text, **known}
    for topic in RECORDINGS:
        for n, text in enumerate(passages(topic)):
            times = {"moment": f"speech/{n}.000-{n + 1}.000/0", "start_s": float(n), "end_s": n + 1.0}
            known = {"kind": "video", "language": "en" if n else "de", "tags": ("talk", topic[0]), "title": topic}
            yield TEXT.space, {"asset_id": topic, "text": text, **times, **known}
    for label in LABELS:
        known = {"kind": "image", "moment": "//0", "title": f"IMG {len(label)}", "tags": tuple(label.split())}
        yield PICTURES.space, {"asset_id": label, **known}


def encoded(texts: list[str]) -> np.ndarray:
    """Unit vectors of texts."""
    return np.asarray(registry.run(Task.TEXT_EMBEDDING, TEXT, texts))


@dataclass(frozen=True)
class Corpus:
    """The same entries in both indexes."""

    lance: Path
    weaviate: str
    count: int

    @asynccontextmanager
    async def both(self) -> AsyncIterator[tuple[VectorIndex, VectorIndex]]:
        """Handles to both."""
        lance, weaviate = LanceIndex(self.lance), weaviate_index(self.weaviate)
        try:
            yield lance, weaviate
        finally:
            await lance.close()
            await weaviate.close()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    """Some hundred entries of one tenant, and the same of another that no query is to find."""
    found = list(moments())
    vectors = encoded([fields.get("text") or fields["asset_id"] for _, fields in found])
    with ExitStack() as stack:
        made = Corpus(tmp_path_factory.mktemp("lance") / "index", stack.enter_context(weaviate_url()), len(found))

        async def put() -> None:
            async with made.both() as indexes:
                for index in indexes:
                    for tenant in ("t", "other"):
                        for space in (TEXT.space, PICTURES.space):
                            await index.put(space, [
                                IndexEntry(
                                    id=ids.index_id(tenant + f["asset_id"], space, f["moment"]), tenant=tenant,
                                    vector=tuple(map(float, vector)), **f,
                                )
                                for (of, f), vector in zip(found, vectors, strict=True) if of == space
                            ])  # fmt: skip

        asyncio.run(put())
        yield made


def told(hits: list[search.Ranked]) -> list[tuple[str, str, float]]:
    """What a person is shown of the results."""
    return [(hit.asset_id, hit.moment, round(hit.score, 3)) for hit in hits]


@pytest.mark.services
@pytest.mark.parametrize(
    "only",
    [
        Filter(),
        Filter(kinds=("video",)),
        Filter(kinds=("image", "document")),
        Filter(tags=("manual",)),
        Filter(tags=("talk", RECORDINGS[0][0])),
        Filter(language="de"),
        Filter(kinds=("video",), language="en", tags=("talk",)),
    ],
    ids=lambda only: str(only.model_dump(exclude_defaults=True)),
)
def test_both_indexes_give_the_same(corpus: Corpus, only: Filter) -> None:
    """The first ten assets, with the moment of each and the score, are the same for every query and filter."""

    async def run() -> None:
        async with corpus.both() as (lance, weaviate):
            for query in QUERIES:
                first = told(await search.by_words(lance, ROUTING, query, "t", only, 10))
                second = told(await search.by_words(weaviate, ROUTING, query, "t", only, 10))
                assert [x[:2] for x in first] == [x[:2] for x in second], query
                assert [x[2] for x in first] == pytest.approx([x[2] for x in second], abs=2e-3)
                assert first

    assert corpus.count >= 200
    asyncio.run(run())


@pytest.mark.services
def test_both_indexes_find_the_same_by_example(corpus: Corpus) -> None:
    """Assets like one of each kind are the same, and the asset itself is not among them."""

    async def run() -> None:
        async with corpus.both() as (lance, weaviate):
            for asset in (DOCUMENTS[3], RECORDINGS[4], LABELS[0], "unknown"):
                first = told(await search.like(lance, ROUTING, asset, "t", Filter(), 10))
                assert first == told(await search.like(weaviate, ROUTING, asset, "t", Filter(), 10))
                assert asset not in {name for name, _, _ in first}
                assert bool(first) == (asset != "unknown")

    asyncio.run(run())


@pytest.mark.services
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("writing a formatted string literal", "formatstrings"),
        ("old railway", "steam locomotive"),
        ("a dog or a cat", "tabby cat"),
    ],
)
def test_the_first_is_what_was_meant(corpus: Corpus, query: str, found: str) -> None:
    """A query finds what it is about, by the words themselves or by their meaning."""

    async def run() -> None:
        async with corpus.both() as indexes:
            for index in indexes:
                assert (await search.by_words(index, ROUTING, query, "t", Filter(), 5))[0].asset_id == found

    asyncio.run(run())


def asked(*arguments: str, out: Path, index: str = "") -> tuple[int, str]:
    """Exit code and output of the command."""
    command = [*arguments, "--out", str(out), "--json"]
    done = CliRunner().invoke(cli.app, command, env={"ASSET_PIPELINE_INDEX": index})
    return done.exit_code, done.output


def test_the_command_filters(tmp_path: Path) -> None:
    """Kind, tag and language each leave out what they do not name; nothing found is exit code 3."""
    out = kept_runs.kept(tmp_path).out
    code, output = asked("search", "two", "--kind", "image", out=out)
    assert code == 0 and json.loads(output.splitlines()[0])["asset"] == "two.png"
    assert asked("similar", "two.png", "--kind", "image", out=out)[0] == 0
    for command in (("search", "two"), ("similar", "two.png")):
        for option in (("--kind", "video"), ("--tag", "nothing has it"), ("--language", "xx")):
            assert asked(*command, *option, out=out) == (3, "")


def test_a_server_that_is_away_is_told(tmp_path: Path) -> None:
    """Without the index's server the command says so, with exit code 3."""
    code, output = asked("search", "two", out=tmp_path, index="weaviate://127.0.0.1:1?grpc=2")
    assert code == 3 and output.startswith("error: index_unavailable")


def hit(asset: str, score: float, **fields: Any) -> Hit:
    """A result in a space."""
    return Hit(
        **{"asset_id": asset, "kind": "video", "title": "", "moment": "", "text": "", "space": "s"} | fields,
        score=score,
    )


def test_an_asset_ranks_by_its_best_moment_and_its_words() -> None:
    """Words add their share of the query, from any moment, once; what has them alone comes last; ties go by id."""
    near = [
        hit("far", 0.2), hit("near", 0.5, moment="a"), hit("near", 0.6, moment="b"),
        hit("told", 0.5, text="Rockets are launched"), hit("tie", 0.6),
    ]  # fmt: skip
    found = [hit("near", 9.0, moment="c", title="rocket"), hit("only", 40.0, tags=("launching", "rocket"))]
    best = search.ranked(near, found, ["rocket", "launch"], 5)
    assert [(one.asset_id, one.moment, one.score) for one in best] == [
        ("told", "", 0.8), ("near", "b", 0.75), ("tie", "", 0.6), ("only", "", 0.3), ("far", "", 0.2),
    ]  # fmt: skip
    assert search.ranked(near, found, [], 1)[0].score == 0.6
