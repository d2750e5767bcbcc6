"""What the Hub API is asked for at most."""

import pytest

from tests.marketplace.inside import Inside


@pytest.mark.parametrize("times", [1, 1200])
def test_a_filter_that_is_given_often_counts_once(times: int, inside: Inside) -> None:
    answer = inside.ask("GET", "/hf/api/models", params={"filter": ",".join(["onnx"] * times)})
    assert (answer.status_code, answer.json()) == (200, [])


@pytest.mark.parametrize("name", ["filter", "apps", "expand"])
def test_more_values_than_anybody_asks_for_are_refused(name: str, inside: Inside) -> None:
    many = ",".join(f"tag-{n}" for n in range(1200))
    answer = inside.ask("GET", "/hf/api/models", params={name: many})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")
    assert name in answer.json()["detail"]
