"""What a process tells of its work: traces to a collector, failures to Sentry, and logs as JSON lines."""

from __future__ import annotations

import json
import re
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from flow_runs import Place, picture
from listening import listening, spans_of
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from sentry_sdk.envelope import Envelope

from dataflows import logs
from dataflows.failures import frames
from dataflows.logs import redacted
from dataflows.submit import append, events_of, submission_of
from schemas.settings import Settings
from schemas.trace import trace_of, traceparent

GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"  # the example of W3C Trace Context
UNSAMPLED = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
STAGES = {"ingest", "validate", "derive", "enrich", "register", "publish"}


@dataclass
class Told:
    """What a run told, and of which assets: by the names of their files."""

    spans: list[Span]
    failures: list[dict[str, Any]]
    lines: list[dict[str, Any]]
    assets: dict[str, str]

    def of(self, name: str) -> list[Span]:
        return [span for span in self.spans if attributes(span).get("asset.id") == self.assets[name]]


def attributes(span: Span) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A run over four files: with a producer's trace, without one, with one that is not sampled, and one that fails."""
    folder = tmp_path_factory.mktemp("told")
    settings, events = Settings(out=folder / "out"), []
    for seed, (name, given) in enumerate({"traced": GIVEN, "plain": "", "unsampled": UNSAMPLED}.items()):
        path = picture(folder / f"{name}.png", seed)
        events += [e.model_copy(update={"traceparent": given}) for e in submitted(settings, path)]
    (folder / "broken.png").write_bytes((folder / "plain.png").read_bytes()[:2000])
    events += submitted(settings, folder / "broken.png")
    append(settings, events)
    with ExitStack() as on:
        collector, sentry = on.enter_context(listening()), on.enter_context(listening())
        place = Place(settings.out)
        place.environment |= {
            "ASSET_PIPELINE_OUT": str(settings.out), "ASSET_PIPELINE_OTLP": f"http://127.0.0.1:{collector.port}/",
            "ASSET_PIPELINE_SENTRY_DSN": f"http://somebody@127.0.0.1:{sentry.port}/7",
        }  # fmt: skip
        program = (sys.executable, "-m", "bytewax.run")
        with place.started("dataflows.pipeline:flow", program=program) as running:
            _, errors = running.communicate(timeout=120)
        assert running.returncode == 0, errors
    assert {path for path, _ in collector.got} == {"/v1/traces"} and {path for path, _ in sentry.got} == {
        "/api/7/envelope/"
    }
    spans = [span for _service, span in spans_of(collector)]
    envelopes = [Envelope.deserialize(body) for _, body in sentry.got]
    failures = [event for e in envelopes if (event := e.get_event())]
    lines = [json.loads(line) for line in errors.splitlines()]
    return Told(spans, failures, lines, {Path(e.data.source.name).stem: e.data.asset_id for e in events})


def submitted(settings: Settings, path: Path) -> list[Any]:
    return list(events_of(settings, [str(path)], submission_of(settings)))


def test_an_asset_is_one_trace_below_the_producers_span(told: Told) -> None:
    """Stages below it, steps below their stages, within their times; an asset that is not sampled has none."""
    spans = told.of("traced")
    assert {span.trace_id.hex() for span in spans} == {GIVEN[3:35]}
    stages = {span.name: span for span in spans if span.parent_span_id.hex() == GIVEN[36:52]}
    assert set(stages) == STAGES
    steps = [span for span in spans if span.name not in stages]
    by_id = {span.span_id: span for span in stages.values()}
    assert {by_id[step.parent_span_id].name for step in steps} >= {"ingest", "validate", "derive", "enrich"}
    for step in steps:
        above = by_id[step.parent_span_id]
        assert above.start_time_unix_nano - 5e6 <= step.start_time_unix_nano <= step.end_time_unix_nano
        assert step.end_time_unix_nano <= above.end_time_unix_nano + 5e6
    assert all(span.status.code == 0 for span in spans)
    assert not told.of("unsampled")


def test_the_tables_that_an_asset_is_in_are_in_its_trace(told: Told) -> None:
    """Rows that reach a table are below the asset's last stage at that time."""
    appended = {span.name for span in told.spans if span.trace_id.hex() == GIVEN[3:35] and span.name[:6] == "append"}
    assert appended == {f"append {table}" for table in ("assets", "variants", "lineage", "steps", "events")}


def test_an_asset_without_a_producers_trace_has_a_root_that_is_as_long_as_its_way(told: Told) -> None:
    """All others are below it, and its ids follow from the event."""
    spans = told.of("plain")
    (root,) = [span for span in spans if not span.parent_span_id]
    assert root.name == "asset" and root.trace_id.startswith(root.span_id)
    below = [span for span in spans if span.parent_span_id == root.span_id]
    assert {span.name for span in below} == STAGES
    assert root.end_time_unix_nano >= max(span.end_time_unix_nano for span in below) - 5e6


def test_a_failure_is_an_error_in_its_trace(told: Told) -> None:
    """With the code as its type; the root says so too."""
    spans = {span.name: span for span in told.of("broken")}
    assert spans["derive"].status.code == spans["asset"].status.code == 2
    assert attributes(spans["derive"])["error.type"] == attributes(spans["asset"])["error.type"] == "truncated"


def test_a_failure_is_told_once_by_code_and_stage(told: Told) -> None:
    """With its asset and step, and neither the file's name, nor the machine's, nor anybody's."""
    (failure,) = told.failures
    assert failure["fingerprint"] == [failure["tags"]["code"], failure["tags"]["stage"]] == ["truncated", "derive"]
    beside = {"integrity", "renditions, placeholder, stills"}  # both read the file, and the first to fail is told
    assert failure["tags"]["asset"] == told.assets["broken"] and failure["tags"]["step"] in beside
    assert failure["tags"]["trace"] == told.of("broken")[0].trace_id.hex()
    assert failure["extra"]["frames"] and failure["server_name"] == "pipeline-0"
    assert "broken" not in json.dumps(failure) and "user" not in failure and "modules" not in failure


def test_logs_are_lines_of_json_with_asset_stage_and_trace(told: Told) -> None:
    """Each stage's end has one, and all have the flow, a level and a time."""
    assert all({"event", "level", "timestamp", "flow", "process"} <= set(line) for line in told.lines)
    ends = [line for line in told.lines if line.get("asset_id") == told.assets["traced"]]
    assert {(line["stage"], line["state"]) for line in ends} == {(stage, "completed") for stage in STAGES}
    assert {line["trace_id"] for line in ends} == {GIVEN[3:35]}
    bad = [line for line in told.lines if line["level"] == "warning"]
    assert {(line["asset_id"], line["stage"], line["state"]) for line in bad} == {
        (told.assets["broken"], "derive", "failed")
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see https://me:word@host/x?a=1", "see https://***@host/x?a=1"),
        ("s3://key:secret@b/k", "s3://***@b/k"),
        ("GET /o?X-Amz-Credential=AK%2F1&X-Amz-Date=1&X-Amz-Signature=ab12 200",
         "GET /o?X-Amz-Credential=***&X-Amz-Date=1&X-Amz-Signature=*** 200"),
        ('{"url": "https://h/a?sig=x%3D&sv=2"}', '{"url": "https://h/a?sig=***&sv=2"}'),
        ("https://h/?access_token=t#f", "https://h/?access_token=***#f"),
        ("https://h/?TOKEN=t", "https://h/?TOKEN=***"),
        ("a@b.example and https://h/x@y?signal=1", "a@b.example and https://h/x@y?signal=1"),
    ],
)  # fmt: skip
def test_credentials_and_signatures_are_left_out(text: str, expected: str) -> None:
    """Of URLs anywhere in a text."""
    assert redacted(text) == expected


def test_logs_of_anything_are_redacted(capsys: pytest.CaptureFixture[str]) -> None:
    """In nested values, of exceptions, and of objects that only have a text."""
    before = structlog.get_config()
    try:
        logs.configure(as_json=True, flow="x")
        try:
            raise RuntimeError("https://a:b@host/?token=c")
        except RuntimeError as error:
            structlog.get_logger().exception("went_wrong", seen=[{"url": "https://a:b@h"}], error=error)
    finally:
        structlog.configure(**before)
    line = json.loads(capsys.readouterr().err)
    assert line["flow"] == "x" and line["level"] == "error" and "RuntimeError" in line["exception"]
    assert "a:b" not in json.dumps(line) and "token=c" not in json.dumps(line) and "***" in line["error"]


def test_a_traceback_is_told_without_what_its_errors_say() -> None:
    """Frames and kinds of errors stay."""
    try:
        raise ValueError("secret.png is\nbad")
    except ValueError:
        import traceback

        lines = frames(traceback.format_exc()).splitlines()
    assert lines[0].startswith("Traceback") and lines[-1] == "ValueError" and not re.search("secret", str(lines[-1]))


@pytest.mark.parametrize(
    "given", ["", "nonsense", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "ff" + GIVEN[2:], GIVEN + "x"]
)
def test_what_is_no_trace_context_is_left_out(given: str) -> None:
    """Then the trace follows from the event, always the same."""
    made = traceparent(given, "event-1")
    assert made == traceparent("", "event-1") != traceparent("", "event-2")
    assert trace_of(made).ours and trace_of(made).sampled


def test_a_producers_trace_context_is_taken() -> None:
    """Of a later version only what this one knows."""
    assert traceparent(GIVEN, "event-1") == GIVEN and not trace_of(GIVEN).ours
    assert traceparent("01" + GIVEN[2:] + "-more", "event-1") == "01" + GIVEN[2:]
