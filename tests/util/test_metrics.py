from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from shoal.util import metrics
from shoal.util.metrics import Counter, Gauge, Histogram, prometheus_text


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(metrics, "_registry", metrics._Registry())
    yield


def samples() -> list[str]:
    return [line for line in prometheus_text().splitlines() if not line.startswith("#")]


def test_counters_add_up_for_each_combination_of_tags() -> None:
    requests = Counter("requests", description="Requests served", tag_keys=("route",))
    requests.inc(tags={"route": "/"})
    requests.inc(2.5, tags={"route": "/"})
    requests.inc(tags={"route": '/"a"'})
    assert prometheus_text() == (
        "# HELP ray_requests_total Requests served\n"
        "# TYPE ray_requests_total counter\n"
        'ray_requests_total{route="/"} 3.5\n'
        'ray_requests_total{route="/\\"a\\""} 1.0\n'
    )


def test_gauges_keep_the_latest_value() -> None:
    gauge = Gauge("depth")
    for value in (3, 1, None):
        gauge.set(value)
    assert samples() == ["ray_depth 1.0"]


def test_histograms_count_into_cumulative_buckets() -> None:
    latency = Histogram("latency", boundaries=[1.0, 10.0])
    for value in (0.5, 5, 50):
        latency.observe(value)
    assert samples() == [
        'ray_latency_bucket{le="1.0"} 1',
        'ray_latency_bucket{le="10.0"} 2',
        'ray_latency_bucket{le="+Inf"} 3',
        "ray_latency_sum 55.5",
        "ray_latency_count 3",
    ]


def test_default_tags_fill_in_and_extra_tags_are_kept() -> None:
    counter = Counter("hits", tag_keys=("a", "b"))
    assert counter.set_default_tags({"a": "1"}) is counter
    counter.inc(tags={"b": "2", "extra": "3"})
    counter.inc(tags={"a": "x", "b": "2"})
    assert samples() == ['ray_hits_total{a="1",b="2",extra="3"} 1.0', 'ray_hits_total{a="x",b="2"} 1.0']


def test_metrics_of_one_name_are_one_series() -> None:
    Counter("same").inc()
    Counter("same").inc()
    assert samples() == ["ray_same_total 2.0"]


def test_info_describes_the_metric() -> None:
    histogram = Histogram("latency", "Time", boundaries=[1], tag_keys=("a",)).set_default_tags({"a": "b"})
    assert histogram.info == {
        "name": "latency",
        "description": "Time",
        "tag_keys": ("a",),
        "default_tags": {"a": "b"},
        "boundaries": [1],
    }


@pytest.mark.parametrize(
    "metric",
    [Counter("c", "d", ("a",)), Gauge("g", "d", ("a",)), Histogram("h", "d", [1.0], ("a",))],
    ids=lambda metric: type(metric).__name__,
)
def test_metrics_travel_with_their_settings(metric: Any) -> None:
    metric.set_default_tags({"a": "b"})
    assert pickle.loads(pickle.dumps(metric)).info == metric.info


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: Counter("c").inc(0), ValueError, "value must be > 0, but got value=0"),
        (lambda: Counter("c").inc("1"), TypeError, "value must be int or float, but got value='1'"),
        (lambda: Counter("c", tag_keys=("a",)).inc(), ValueError, r"c needs values for the tags \['a'\]"),
        (lambda: Counter("c", tag_keys=("a",)).inc(tags={"a": 1}), TypeError, "values of tags must be str, but got a=1"),
        (lambda: Counter("c", tag_keys="a"), TypeError, "tag_keys must be a tuple of str"),
        (lambda: Counter("c", tag_keys=(1,)), TypeError, "tag_keys must be a tuple of str, but got 1"),
        (lambda: Counter("c").set_default_tags({"a": "b"}), ValueError, "default tags must be among"),
        (lambda: Counter("c", tag_keys=("a",)).set_default_tags({"a": 1}), TypeError, "values of tags must be str"),
        (lambda: Counter(""), ValueError, "name must not be empty"),
        (lambda: Gauge("g").set("1"), TypeError, "value must be int or float"),
        (lambda: Histogram("h"), ValueError, "boundaries must have at least one value"),
        (lambda: Histogram("h", boundaries=[1, 0]), ValueError, "boundaries must be > 0, but got 0 at index 1"),
        (lambda: Histogram("h", boundaries=[1]).observe(None), TypeError, "value must be int or float"),
    ],
)
def test_bad_values_are_refused(call: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call()
    assert samples() == []


def test_a_bad_name_warns_and_records_nothing() -> None:
    with pytest.warns(UserWarning, match="'bad-name' is discarded"):
        counter = Counter("bad-name")
    counter.inc()
    assert prometheus_text() == ""


def test_threads_do_not_lose_counts() -> None:
    counter = Counter("hits")
    threads = [threading.Thread(target=lambda: [counter.inc() for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert samples() == ["ray_hits_total 2000.0"]
