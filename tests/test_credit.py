"""Credit along the lineage: shares of parents, every way, circles, and rows that no order changes."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from random import Random

import pytest
from flow_fixtures import AT_ONCE, run_flow  # noqa: F401

from schemas.credit import LEAST, Used, credits_of, window_rows

START_MS = 1_900_000_000_000 // 60_000 * 60_000 - 10 * 365 * 86_400_000
HALF = Fraction(1, 2)


def test_parents_share_evenly_and_hand_on() -> None:
    """Half of a use goes to the parents, half of what each of them gets to its own."""
    parents = {"c": ["a", "b"], "a": ["root"], "b": ["root"], "root": ()}
    assert credits_of("c", parents, HALF) == {"a": HALF / 2, "b": HALF / 2, "root": HALF * HALF}
    assert credits_of("root", parents, HALF) == {} == credits_of("unknown", parents, HALF)
    assert credits_of("c", parents, Fraction(0)) == {}
    assert credits_of("c", {"c": ["a", "a", "b"]}, HALF) == {"a": HALF / 2, "b": HALF / 2}


def test_each_way_to_an_ancestor_counts() -> None:
    """An ancestor that is a parent and a grandparent gets credit as both."""
    assert credits_of("c", {"c": ["a", "b"], "b": ["a"]}, HALF)["a"] == HALF / 2 + HALF * HALF / 2


def by_ways(asset_id: str, parents: dict[str, list[str]], share: Fraction) -> dict[str, Fraction]:
    """The rule as it is said, way by way."""
    found: defaultdict[str, Fraction] = defaultdict(Fraction)

    def go(child: str, has: Fraction) -> None:
        for parent in parents.get(child, ()):
            found[parent] += has * share / len(parents[child])
            go(parent, has * share / len(parents[child]))

    go(asset_id, Fraction(1))
    return dict(found)


@pytest.mark.parametrize("seed", range(60))
def test_credit_is_that_of_all_ways_and_never_more_than_there_is(seed: int) -> None:
    """In a random lineage the credit is the sum over all ways, each generation's at most its share, in any order."""
    rng = Random(seed)
    names = [f"n{i}" for i in range(9)]
    parents = {
        name: rng.sample(names[:i], rng.randrange(0, min(i, 3) + 1)) for i, name in enumerate(names)
    }  # fmt: skip
    share = Fraction(rng.randrange(0, 100), 100)
    found = credits_of("n8", parents, share)
    assert found == {name: part for name, part in by_ways("n8", parents, share).items() if part}
    assert sum(found.values()) <= share / (1 - share)
    shuffled = {name: rng.sample(parents[name], len(parents[name])) for name in rng.sample(names, len(names))}
    assert credits_of("n8", shuffled, share) == found


@pytest.mark.parametrize("seed", range(60))
def test_circles_end_and_keep_the_bound(seed: int) -> None:
    """In a lineage with circles the credit is finite, the same in any order, none for the asset itself, and bounded."""
    rng = Random(seed)
    names = [f"n{i}" for i in range(8)]
    parents = {name: rng.sample(names, rng.randrange(0, 4)) for name in names}
    found = credits_of("n0", parents, Fraction(9, 10))
    assert "n0" not in found and sum(found.values()) <= 9
    assert found == credits_of("n0", {name: parents[name][::-1] for name in names[::-1]}, Fraction(9, 10))


def test_a_circle_above_gets_credit_and_hands_none_on() -> None:
    """What comes into a circle stays with the assets that it comes to."""
    parents = {"c": ["a"], "a": ["b", "top"], "b": ["a"], "top": ["more"]}
    assert credits_of("c", parents, HALF) == {"a": HALF}
    assert credits_of("a", {"a": ["a"]}, HALF) == {}


def test_a_long_line_ends_where_there_is_nothing_left() -> None:
    """A chain of a hundred thousand generations takes no recursion, and ends below a billionth."""
    parents = {f"n{i}": [f"n{i + 1}"] for i in range(100_000)}
    found = credits_of("n0", parents, HALF)
    assert len(found) == 29 and min(found.values()) >= LEAST > min(found.values()) / 2


@pytest.mark.parametrize("seed", range(40))
def test_a_windows_rows_do_not_depend_on_the_order_of_uses(seed: int) -> None:
    """Rows are equal to the last bit for uses in any order, and sums of credit are those of the single uses."""
    rng = Random(seed)
    used = [
        Used(f"n{rng.randrange(8)}", rng.choice(("viewed", "sold")), rng.choice(("", "EUR")), 1, rng.randrange(1, 9), n)
        for n in range(50)
    ]
    parents = {f"n{i}": rng.sample([f"n{j}" for j in range(i)], rng.randrange(0, min(i, 3) + 1)) for i in range(8)}
    share = Fraction(3, 10)
    rows = window_rows("acme", START_MS, 60, used, parents, share)
    rng.shuffle(used)
    assert window_rows("acme", START_MS, 60, used, parents, share) == rows
    assets, tenants = rows
    given = sum(sum(by_ways(each.asset_id, parents, share).values()) * each.quantity for each in used)
    assert sum(r["credit"] for r in assets) == pytest.approx(float(given)) == sum(r["credit"] for r in tenants)
    assert sum(r["quantity"] for r in assets) == sum(each.quantity for each in used)
    assert len({r["row_id"] for r in assets}) == len(assets)


def test_a_deleted_asset_gets_no_credit() -> None:
    """What a deleted ancestor would get is nobody's."""
    uses_ = [Used("c", "viewed", "", 1, 1, 0)]
    assets, tenants = window_rows("acme", START_MS, 60, uses_, {"c": ["a", "b"]}, HALF, {"b"})
    assert {r["asset_id"]: r["credit"] for r in assets} == {"a": 0.25, "c": 0.0}
    assert tenants[0]["credit"] == 0.25
