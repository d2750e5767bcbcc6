"""Databases of generated listings in Chinese and English, the same at every run and kept for the next.

Words follow Zipf's law, so that some are in a tenth of all listings and most in a few; popularity does too.
"""

import hashlib
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, insert

from catalog import search_index
from catalog.models import Listing, Vendor, Version
from catalog.taxonomy import TASKS, VERTICALS
from marketplace.db import migrate, open_engine, transaction
from tests.shop import CACHE

MADE = "2"  # counts changes of what is generated
BATCH = 10_000
CREATED = datetime(2026, 1, 1, tzinfo=UTC)


def _words(text: str) -> list[str]:
    return text.split()


THINGS = _words(
    """
    发票/invoice 合同/contract 评论/review 简历/resume 病历/medical-record 车牌/plate 票据/receipt
    订单/order 工单/ticket 邮件/email 新闻/news 论文/paper 专利/patent 地址/address 姓名/name 表格/table
    公式/formula 图纸/drawing 照片/photo 视频/video 语音/speech 电话/call 会议/meeting 商品/product
    菜谱/recipe 药品/drug 保单/policy 贷款/loan 股票/stock 报表/report 账单/bill 舆情/opinion 谣言/rumour
    广告/advert 弹幕/comment 诗词/poem 小说/novel 字幕/subtitle 歌曲/song 人脸/face 手势/gesture
    行人/pedestrian 车辆/vehicle 缺陷/defect 烟火/fire 安全帽/helmet 农作物/crop 害虫/pest 卫星/satellite
    气象/weather 电力/power 管道/pipeline 阀门/valve 情感/sentiment 意图/intent 关键词/keyword 摘要/summary
    翻译/translation 方言/dialect 口音/accent
    """
)
ACTS = _words(
    """
    识别/recognition 分类/classification 检测/detection 抽取/extraction 分割/segmentation 生成/generation
    检索/retrieval 匹配/matching 纠错/correction 审核/moderation 预测/prediction 聚类/clustering
    转写/transcription 合成/synthesis 压缩/compression 校对/proofreading
    """
)
KINDS = _words(
    """
    轻量版/light 高精度/accurate 离线/offline 量化/quantised 多语言/multilingual 小型/small 极速/fast
    通用/general 行业/vertical 专业/professional 开源/open 稳定/stable 实时/realtime
    """
)
SYLLABLES_ZH = (
    "安博成达恩丰光海嘉凯朗明宁鹏启瑞盛泰万新亚云智中卓群越航维思远景华峰源科技讯图文字音数据慧眼灵犀"
)
SYLLABLES_EN = _words(
    """
    ba co da el fi ga ho in ja ko lu mi no or pa qui ra se ta u vi wo xa ya zen
    """
)
LICENCES = _words(
    """
    Apache-2.0 MIT CC-BY-4.0 CC-BY-NC-4.0 LicenseRef-not-stated BSD-3-Clause GPL-3.0-only
    """
)


@dataclass(frozen=True)
class Row:
    """One listing with its version, as plain values: making rows of the tables takes most of the time."""

    listing: Any
    version: Any
    score: float


class Words:
    """Draws words, the first of a list far more often than the last."""

    def __init__(self, dice: random.Random, words: list[str], skew: float = 0.9) -> None:
        self.dice, self.words = dice, words
        self.weights = list(accumulate(1 / (place + 1) ** skew for place in range(len(words))))

    def some(self, count: int) -> list[str]:
        return self.dice.choices(self.words, cum_weights=self.weights, k=count)

    def one(self) -> str:
        return self.some(1)[0]


def _invented(
    dice: random.Random, syllables: list[str] | str, count: int, least: int, most: int
) -> list[str]:
    return ["".join(dice.choices(syllables, k=dice.randint(least, most))) for _ in range(count)]


def rows(count: int, seed: int = 7) -> Iterator[Row]:
    """So many listings, the most popular first."""
    dice = random.Random(seed)
    english = Words(dice, _invented(dice, SYLLABLES_EN, 20_000, 2, 4))
    chinese = Words(dice, _invented(dice, SYLLABLES_ZH, 20_000, 2, 3))
    things, acts, kinds = (Words(dice, list(pool), 0.6) for pool in (THINGS, ACTS, KINDS))
    vendors = Words(dice, [f"{name}{n}" for n, name in enumerate(_invented(dice, SYLLABLES_EN, 2000, 2, 3))])
    tasks, verticals, licences = (Words(dice, list(pool)) for pool in (TASKS, VERTICALS, LICENCES))
    for number in range(count):
        thing, act, kind = (pool.one().split("/") for pool in (things, acts, kinds))
        brand = english.one()
        vendor = vendors.one()
        name = f"{vendor}/{thing[1]}-{act[1]}-{brand}-{number}"
        zh, en = chinese.some(7), english.some(9)
        listing = SimpleNamespace(
            created=CREATED + timedelta(minutes=number % 500_000),
            card_zh="",
            card_en="",
            gated=False,
            id=UUID(int=dice.getrandbits(128)),
            name=name,
            vendor_id=vendor_id(vendor),
            kind="agent" if dice.random() < 0.05 else "model",
            task=tasks.one(),
            verticals=list(dict.fromkeys(verticals.some(dice.choice((1, 1, 2))))),
            languages=dice.choice((["zh"], ["zh", "en"], ["en"])),
            title_zh=f"{chinese.one()}{thing[0]}{act[0]}{kind[0]}",
            title_en=f"{brand.title()} {kind[1]} {thing[1]} {act[1]}",
            summary_zh=f"为{zh[0]}打造的{thing[0]}{act[0]}模型，{kind[0]}，支持{zh[1]}、{zh[2]}与{zh[3]}，"
            f"在{zh[4]}数据上训练，适合{zh[5]}{zh[6]}的日常工作。",
            summary_en=f"{kind[1].title()} {thing[1]} {act[1]} for {en[0]} and {en[1]}, works with {en[2]}, "
            f"{en[3]} and {en[4]}; trained on {en[5]} {en[6]} data, made for daily {en[7]} {en[8]} work.",
            price={"plan": dice.choice(("free", "free", "free", "per_call", "monthly"))},
        )
        yield Row(listing, _version(dice, listing, licences.one()), 200_000 / (number + 1))


def vendor_id(name: str) -> UUID:
    """A vendor's id by its name."""
    return UUID(bytes=hashlib.md5(name.encode()).digest())


def _version(dice: random.Random, listing: Any, licence: str) -> Any:
    size = int(10 ** dice.uniform(5.5, 9.6))
    digest = f"{dice.getrandbits(256):064x}"
    manifest = {
        "schema": 1,
        "name": listing.name,
        "version": "1.0.0",
        "task": listing.task,
        "files": {"model": "model.onnx"},
        "options": {},
        "examples": [],
        "artifacts": [{"path": "model.onnx", "sha256": digest, "size": size}],
    }
    measured = {"latency_ms": {"p50": round(10 ** dice.uniform(0, 3.2), 2), "n": 20}, "memory": size * 2}
    return SimpleNamespace(
        offer={},
        license_base="",
        created=listing.created,
        id=UUID(int=dice.getrandbits(128)),
        listing_id=listing.id,
        number="1.0.0",
        state="listed",
        manifest=manifest,
        digest=f"sha256:{digest}",
        size=size,
        license_package="Apache-2.0",
        license_weights=licence,
        check_state="passed",
        reviewed=True,
        measured=measured if dice.random() < 0.6 else {},
    )


def database(count: int) -> tuple[Path, float]:
    """The file of a shop's database with so many listings, and the seconds that it took to make."""
    path = CACHE / f"listings-{MADE}-{search_index.VERSION}-{count}.db"
    if path.exists():
        return path, 0.0
    CACHE.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    fresh = path.with_suffix(".making")
    fresh.unlink(missing_ok=True)
    engine = open_engine(f"sqlite:///{fresh}")
    migrate(engine)
    _fill(engine, count)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    fresh.rename(path)
    return path, time.perf_counter() - began


def _fill(engine: Engine, count: int) -> None:
    made = rows(count)
    vendors: set[str] = set()
    with transaction(engine) as db:
        search_index.catch_up(db)
    while batch := list(islice(made, BATCH)):
        with transaction(engine) as db:
            new = {row.listing.name.partition("/")[0] for row in batch} - vendors
            vendors |= new
            titles = [{"title_zh": name, "title_en": name.title(), "name": name} for name in sorted(new)]
            if titles:
                db.execute(insert(Vendor), [{"id": vendor_id(each["name"]), **each} for each in titles])
            db.execute(insert(Listing), [vars(row.listing) for row in batch])
            db.execute(insert(Version), [vars(row.version) for row in batch])
            search_index.put_all(
                db,
                [
                    (search_index.document_of(row.listing, row.version), search_index.level_of(row.score))
                    for row in batch
                ],
            )


def raw_bytes(engine: Engine) -> int:
    """Bytes of the texts that people wrote: titles, names and summaries."""
    columns = "+".join(
        f"length(CAST({name} AS BLOB))"
        for name in ("name", "title_zh", "title_en", "summary_zh", "summary_en")
    )
    with engine.connect() as connection:
        return int(connection.exec_driver_sql(f"SELECT sum({columns}) FROM listing").scalar() or 0)
