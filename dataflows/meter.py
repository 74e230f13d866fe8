"""What a process's changes of state say in numbers."""

from __future__ import annotations

from schemas import metrics
from schemas.errors import BAD, State
from schemas.events import StatusChanged
from schemas.fold import is_end


class Meter:
    """Counts events as they happen; after a crash some happen again, and are counted again."""

    def __init__(self, by_tenant: bool = False) -> None:
        self._by_tenant = by_tenant

    def __call__(self, event: StatusChanged) -> None:
        """Takes an event of a stage or a step."""
        if event.step:
            self._step(event)
        elif event.state == State.PENDING:
            metrics.STAGE_RETRIES.labels(event.stage, event.code).inc()
        elif event.state != State.PROCESSING:
            self._stage(event)

    def _stage(self, event: StatusChanged) -> None:
        metrics.STAGE_ENDS.labels(event.stage, event.state, event.code).inc()
        metrics.STAGE_SECONDS.labels(event.stage).observe(event.duration_s)
        if not is_end(event):
            return
        if event.state == State.COMPLETED:
            metrics.END_TO_END.observe(_since_accepted(event))
        if event.state in BAD:
            metrics.DEAD_LETTERS.labels(event.stage, event.code).inc()
        metrics.ENDED.labels(event.state, event.code, event.tenant if self._by_tenant else "").inc()

    @staticmethod
    def _step(event: StatusChanged) -> None:
        if event.state not in (State.COMPLETED, State.SKIPPED):
            return
        how = "found" if event.cached else "skipped" if event.state == State.SKIPPED else "computed"
        metrics.RESULTS.labels(event.stage, event.step, how).inc()
        if how == "computed":
            metrics.STEP_SECONDS.labels(event.stage, event.step).observe(event.duration_s)
        if event.stage == "preview" and how != "skipped":
            metrics.FIRST_PLAYABLE.labels(event.step).observe(_since_accepted(event))


def _since_accepted(event: StatusChanged) -> float:
    return max(0, event.at_ms - event.accepted_ms) / 1000
