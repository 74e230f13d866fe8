"""One step by one model: routed, allowed, computed once, or skipped with the reason."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from operators.models import registry
from operators.stages.services import Services
from operators.stages.steps import Made, Step, once, report, skipped
from schemas.asset import StepRun, Work
from schemas.errors import State
from schemas.routing import Route, Task

T = TypeVar("T")
TIMEOUT_S = 3600.0
VERSION = "1"


def route_of(services: Services, work: Work, task: Task) -> Route | None:
    """The model for the task in the work's profile; None where there is none or its packages are not installed."""
    profile = services.profiles.get(work.pipeline.profile)
    route = profile.lookup(task, str(work.kind), work.tenant) if profile else None
    return route if route is not None and registry.available(route) else None


async def model_step(
    services: Services,
    work: Work,
    task: Task,
    name: str,
    inputs: tuple[str, ...],
    compute: Callable[[Route, Path], Awaitable[Made]],
) -> StepRun:
    """The step's run: skipped without inputs, consent or model; else found or computed."""
    route = route_of(services, work, task)
    step = Step("enrich", name, VERSION, inputs, {"route": route.params()} if route else {})
    reason = _reason(work, inputs, route)
    if reason or route is None:
        report(services, work, step, State.SKIPPED, skipped(work, step, reason))
        return skipped(work, step, reason)
    return await once(services, work, step, lambda scratch: compute(route, scratch))


def _reason(work: Work, inputs: tuple[str, ...], route: Route | None) -> str:
    consent = work.record.request.consent
    if not consent.enrich:
        return "no_consent"
    if not inputs:
        return "not_applicable"
    return "" if route else "no_model"


async def ask(services: Services, fn: Callable[..., T], *args: Any) -> T:
    """Runs a function of `model_tasks` in a model process."""
    return await services.pools.call(fn, *args, timeout_s=TIMEOUT_S)
