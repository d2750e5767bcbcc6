from uuid import uuid4

from sqlalchemy import Engine

from marketplace import metering
from marketplace.db import transaction


def test_a_batch_that_comes_twice_counts_once(engine: Engine) -> None:
    item = metering.UsageItem(deployment="a", key_id="k", requests=3, errors=1, tokens=7, seconds=0.5)
    report = metering.UsageReport(batch=uuid4(), items=[item, item.model_copy(update={"key_id": "other"})])
    for taken in (True, False):
        with transaction(engine) as db:
            assert metering.take(db, report) is taken
    with transaction(engine) as db:
        assert metering.usage_of(db, "a") == metering.Usage(requests=6, errors=2, tokens=14)
        assert metering.usage_of(db, "never called") == metering.Usage()


def test_tries_of_the_shop_are_counted(engine: Engine) -> None:
    metering.count_try(engine, "a", 200, 10)
    metering.count_try(engine, "a", 502, 10)
    with transaction(engine) as db:
        assert metering.usage_of(db, "a") == metering.Usage(requests=2, errors=1)
