"""One step by one model: routed, allowed, computed once, or skipped with the reason."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from operators.models import registry
from operators.stages.services import Services
from operators.stages.steps import Made, Step, once, report, skipped
from schemas import metrics
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
    """Runs a function of `model_tasks`, which has a route among its arguments, in a model process."""
    started = time.monotonic()
    answer = await services.pools.call(fn, *args, timeout_s=TIMEOUT_S)
    (model,) = (arg.model for arg in args if isinstance(arg, Route))
    metrics.MODEL_SECONDS.labels(model).observe(time.monotonic() - started)
    metrics.MODEL_ITEMS.labels(model).observe(_items(*args, *(answer if isinstance(answer, tuple) else ())))
    return answer


def _items(*values: Any) -> int:
    """How many pictures, pages or texts a call was about: as many as the first list has."""
    return next((len(value) for value in values if isinstance(value, list)), 1)
