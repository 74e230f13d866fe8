"""Identities, the fold, and the schemas that are derived from the models."""

from __future__ import annotations

import itertools
import random

import pyarrow as pa
import pytest
from pydantic import ValidationError

from schemas import ids
from schemas.arrow import arrow_schema
from schemas.asset import Declared, IngestRequest, Source
from schemas.base import Model
from schemas.errors import CODES, AssetError, State, as_asset_error
from schemas.events import StatusChanged
from schemas.fold import fold, fold_asset
from schemas.pipelines import LoudnessParams, Pipeline
from schemas.settings import Settings
from schemas.tables import TABLES


def request(**changes: object) -> IngestRequest:
    """A submission of one file."""
    fields: dict[str, object] = {"source": Source(uri="file:///a/cat.png", name="cat.png", sha256="0" * 64)}
    return IngestRequest(**(fields | {"idempotency_key": "k"} | changes))


def event(stage: str, state: State, **rest: object) -> StatusChanged:
    """A status change of one job."""
    fields: dict[str, object] = {"asset_id": "a", "job_id": "j", "tenant": "default", "stage": stage, "state": state}
    return StatusChanged.of(**(fields | rest))


def test_an_asset_id_depends_on_tenant_and_key_alone() -> None:
    """The same tenant and idempotency key name the same asset, whatever else is said."""
    assert request().asset_id == request(declared=Declared(title="x"), pipeline="other").asset_id
    assert request().asset_id != request(tenant="other").asset_id != request(idempotency_key="l").asset_id


def test_a_payload_is_the_content_and_what_is_declared() -> None:
    """A moved file is the same payload; other bytes or another title are not."""
    moved = request(source=Source(uri="file:///b/cat.png", name="cat.png", sha256="0" * 64))
    changed = request(source=Source(uri="file:///a/cat.png", name="cat.png", sha256="1" * 64))
    assert request().payload_digest == moved.payload_digest
    assert request().payload_digest != changed.payload_digest
    assert request().payload_digest != request(declared=Declared(title="x")).payload_digest


def test_a_result_id_changes_with_all_that_decides_a_result() -> None:
    """Tenant, inputs and their order, stage, step, version and parameters each change the id; nothing else is in it."""
    base = {"tenant": "t", "inputs": ["a", "b"], "stage": "derive", "step": "audio", "version": "1", "params": {"x": 1}}
    others = [
        {"tenant": "u"},
        {"inputs": ["b", "a"]},
        {"stage": "preview"},
        {"step": "video"},
        {"version": "2"},
        {"params": {"x": 2}},
    ]
    found = [ids.result_id(**(base | other)) for other in [{}, *others]]
    assert len(set(found)) == len(found)
    assert ids.result_id(**(base | {"params": {"x": 1}})) == found[0]


def test_row_ids_begin_with_the_ingest_time() -> None:
    """Row ids sort by the asset's ingest time, so that file statistics find a possible double."""
    assert ids.row_id(999, "steps", "z") < ids.row_id(1_700_000_000_000, "steps", "a")


def test_a_pipeline_fingerprint_changes_with_any_parameter() -> None:
    """Another loudness target is another version of the pipeline."""
    quiet = Pipeline().audio.model_copy(update={"loudness": LoudnessParams(target_lufs=-23)})
    assert Pipeline().fingerprint == Pipeline().fingerprint
    assert Pipeline().fingerprint != Pipeline(audio=quiet).fingerprint


def test_every_table_has_an_arrow_schema_with_the_row_id_first() -> None:
    """The Arrow schemas are the models' fields, in order, with nulls only where a model has None."""
    for name, model in TABLES.items():
        schema = arrow_schema(model)
        assert schema.names == list(model.model_fields), name
        assert schema.field(0) == pa.field("row_id", pa.string(), nullable=False)
    assets = arrow_schema(TABLES["assets"])
    assert assets.field("duration_s") == pa.field("duration_s", pa.float64(), nullable=True)
    assert assets.field("tags").type == pa.list_(pa.string())


def test_a_field_without_an_arrow_type_is_refused() -> None:
    """A model that cannot be a table says so when the schema is made, not when a row is written."""

    class Odd(Model):
        value: dict[str, int]

    with pytest.raises(TypeError, match="no Arrow type"):
        arrow_schema(Odd)


STAGES = ["ingest", "validate", "derive", "enrich", "register", "publish"]


def test_the_fold_does_not_depend_on_the_order_of_events() -> None:
    """A job's state is the same however its events are shuffled, as clocks and batches may do."""
    events = [event(stage, state) for stage in STAGES[:3] for state in (State.PROCESSING, State.COMPLETED)]
    events += [event("derive", State.PENDING, attempt=2, code="decoder_crashed")]
    shuffled = random.Random(1)
    for _ in range(20):
        shuffled.shuffle(events)
        assert fold(events).state == State.PROCESSING  # derive is to be tried again
    done = [*events, *(event(stage, State.COMPLETED, attempt=2) for stage in STAGES[2:])]
    for _ in range(20):
        shuffled.shuffle(done)
        assert fold(done).state == State.COMPLETED


def test_a_replay_outdoes_the_failure_before_it() -> None:
    """Only the last generation counts: a replay that works makes a failed asset completed."""
    failed = [event("ingest", State.COMPLETED), event("derive", State.FAILED, code="internal", attempt=3)]
    replayed = [event(stage, State.COMPLETED, generation=1) for stage in STAGES]
    assert (fold(failed).state, fold(failed).code) == (State.FAILED, "internal")
    assert fold(failed + replayed).state == State.COMPLETED


def test_a_refused_submission_leaves_the_accepted_asset_as_it_is() -> None:
    """A conflicting or doubled submission has its own end, and the asset that exists keeps its state."""
    accepted = [event(stage, State.COMPLETED) for stage in STAGES]
    refused = event("ingest", State.REJECTED, job_id="other", code="idempotency_conflict", accepted_ms=9)
    for order in itertools.permutations([*accepted[:2], *accepted[4:], refused]):
        assert fold_asset(order).state == State.COMPLETED
    assert fold_asset([refused]).state == State.REJECTED


def test_an_events_id_is_the_same_on_a_replay_of_the_flow() -> None:
    """Status events have deterministic ids, so that a crash doubles none; another attempt or state is another event."""
    one = event("derive", State.COMPLETED, at_ms=1)
    assert one.event_id == event("derive", State.COMPLETED, at_ms=2).event_id
    assert one.event_id != event("derive", State.COMPLETED, attempt=2).event_id
    assert one.event_id != event("derive", State.FAILED, code="internal").event_id


def test_every_code_has_a_state_and_a_sentence() -> None:
    """Each code leads to a state and says what to do; an unknown code is a mistake in the program."""
    for code, meaning in CODES.items():
        assert meaning.sentence.endswith(".") and len(meaning.sentence) > 30, code
    with pytest.raises(ValueError, match="unknown error code"):
        AssetError("no_such_code")
    assert as_asset_error(KeyError("x")).code == "internal"


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """Settings are read from ASSET_PIPELINE_*, and pipelines from their TOML file with the name of their table."""
    file = tmp_path / "pipelines.toml"
    file.write_text('[quiet]\noriginal = "archived"\n[quiet.audio.loudness]\ntarget_lufs = -23.0\n')
    monkeypatch.setenv("ASSET_PIPELINE_PIPELINES_FILE", str(file))
    monkeypatch.setenv("ASSET_PIPELINE_UNFINISHED", "3")
    settings = Settings()
    quiet = settings.pipelines()["quiet"]
    assert (settings.unfinished, quiet.name, quiet.original) == (3, "quiet", "archived")
    assert quiet.audio.loudness.target_lufs == -23 and quiet.video == Pipeline().video


def test_a_wrong_pipeline_names_the_file_and_the_field(tmp_path) -> None:
    """A mistake in the pipelines' file is told with the file, the pipeline and the field."""
    file = tmp_path / "pipelines.toml"
    file.write_text("[loud.audio.loudness]\ntarget_lufs = 3.0\n")
    with pytest.raises(ValueError, match=r"pipelines\.toml: pipeline 'loud'(.|\n)*target_lufs"):
        Settings(pipelines_file=file).pipelines()
    with pytest.raises(ValidationError):
        Settings(unfinished=0)
