"""Credit for derivation: what the assets that a used asset was made from get of its use. Pure, and exact.

The rule: an asset that is used, or that gets credit, hands on `share` of that to its parents, split evenly, and keeps
what it has. So of one use each generation gets `share` of the one before at most, and all ancestors together
`share / (1 - share)` at most. Where several ways lead to an ancestor it gets credit by each. What would be less than a
billionth of the use, or for the used asset itself, is nobody's, and so is what a deleted asset would get. In a lineage
that runs in a circle, which is a mistake, the assets of the circle and those above it hand nothing on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from fractions import Fraction
from functools import cache
from typing import Any, Final, NamedTuple

from schemas import ids
from schemas.tables import UsageAssetRow, UsageTenantRow

Parents = Mapping[str, Sequence[str]]
LEAST: Final = Fraction(1, 10**9)


def credits_of(asset_id: str, parents: Parents, share: Fraction) -> dict[str, Fraction]:
    """What each ancestor gets of one use of an asset; `parents` has those of each asset that has any."""
    waiting = _children(asset_id, parents)
    found: defaultdict[str, Fraction] = defaultdict(Fraction)
    found[asset_id] = Fraction(1)
    ready = [asset_id]
    while ready:
        child = ready.pop()
        above = _parents(child, parents)
        part = found[child] * share / len(above) if above else Fraction(0)
        for parent in above:
            if parent == asset_id:
                continue
            if part >= LEAST:
                found[parent] += part
            waiting[parent] -= 1
            if not waiting[parent]:
                ready.append(parent)
    del found[asset_id]
    return {ancestor: part for ancestor, part in found.items() if part}


def _parents(asset_id: str, parents: Parents) -> list[str]:
    return list(dict.fromkeys(parents.get(asset_id, ())))


def _children(asset_id: str, parents: Parents) -> Counter[str]:
    """How many children each ancestor has among the asset and its ancestors."""
    counts: Counter[str] = Counter()
    seen, ready = {asset_id}, [asset_id]
    while ready:
        above = _parents(ready.pop(), parents)
        counts.update(above)
        new = [parent for parent in above if parent not in seen]
        seen.update(new)
        ready += new
    return counts


class Used(NamedTuple):
    """What a window has of one asset, action and currency."""

    asset_id: str
    action: str
    currency: str
    events: int
    quantity: int
    amount: int


class _Sum:
    """Of an asset or a tenant, by action and currency."""

    def __init__(self) -> None:
        self.assets: set[str] = set()
        self.events = self.quantity = self.amount = 0
        self.credit = self.credit_amount = Fraction(0)

    def use(self, used: Used) -> None:
        self.assets.add(used.asset_id)
        self.events += used.events
        self.quantity += used.quantity
        self.amount += used.amount

    def give(self, used: Used, part: Fraction) -> None:
        self.credit += part * used.quantity
        self.credit_amount += part * used.amount

    def columns(self) -> dict[str, Any]:
        return {
            "events": self.events, "quantity": self.quantity, "amount": self.amount,
            "credit": float(self.credit), "credit_amount": float(self.credit_amount),
        }  # fmt: skip


def window_rows(
    tenant: str, start_ms: int, length_s: int, uses: Iterable[Used], parents: Parents, share: Fraction,
    gone: AbstractSet[str] = frozenset(),
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:  # fmt: skip
    """A tenant's rows of one window for `usage_assets` and `usage_tenants`: the same for the uses in any order.

    Assets that are `gone` get no credit.
    """
    credits = cache(lambda asset_id: credits_of(asset_id, parents, share))
    by_asset: defaultdict[tuple[str, str, str], _Sum] = defaultdict(_Sum)
    by_tenant: defaultdict[tuple[str, str], _Sum] = defaultdict(_Sum)
    for used in uses:
        what = used.action, used.currency
        by_asset[used.asset_id, *what].use(used)
        by_tenant[what].use(used)
        for ancestor, part in credits(used.asset_id).items():
            if ancestor not in gone:
                by_asset[ancestor, *what].give(used, part)
                by_tenant[what].give(used, part)
    window: dict[str, Any] = {"tenant": tenant, "window_start_ms": start_ms, "window_s": length_s}
    assets = [
        vars(UsageAssetRow(
            row_id=ids.row_id(start_ms, "usage_assets", tenant, *key), **window, **sums.columns(),
            asset_id=key[0], action=key[1], currency=key[2],
        ))
        for key, sums in sorted(by_asset.items())
    ]  # fmt: skip
    tenants = [
        vars(UsageTenantRow(
            row_id=ids.row_id(start_ms, "usage_tenants", tenant, *what), **window, **sums.columns(),
            action=what[0], currency=what[1], assets=len(sums.assets),
        ))
        for what, sums in sorted(by_tenant.items())
    ]  # fmt: skip
    return assets, tenants
