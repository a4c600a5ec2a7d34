"""The sample reviews with the topics that they speak of: several labels for a text."""

from __future__ import annotations

import random
from collections.abc import Iterable

from sample_files import Sections, capital, seeded, share

TOPIC_ROWS = {"train": 600, "validation": 100, "test": 100}
TOPICS = {
    "food": "food breakfast dessert drinks",
    "place": "place",
    "price": "price",
    "room": "room bed quiet",
    "service": "staff wait",
}
TOPICS_ZH = {"餐饮": "菜 早餐", "环境": "环境 位置", "价格": "价格", "房间": "房间 床 安静", "服务": "服务 速度"}


def clauses_by_topic(sections: Sections, names: Iterable[str], topics: dict[str, str]) -> Sections:
    """Return the clauses of "aspect: clause" lines by the topic that the aspect belongs to; others are left out."""
    owners = {aspect: topic for topic, aspects in topics.items() for aspect in aspects.split()}
    found: Sections = {}
    for aspect, clause in (line.split(": ", 1) for name in names for line in sections[name]):
        if aspect in owners:
            found.setdefault(owners[aspect], []).append(clause)
    return found


def draw_topics(rng: random.Random, clauses: Sections) -> dict[str, str]:
    """Draw up to three topics, and a clause on each; one in ten reviews speaks of none."""
    held = rng.sample(sorted(clauses), rng.choices(range(4), (1, 3, 4, 2))[0])
    return {topic: rng.choice(clauses[topic]) for topic in held}


def topics(sections: Sections, more: Sections, split: str) -> list[dict[str, object]]:
    """Return reviews of hotels and restaurants with the topics that they speak of; no two splits share a clause."""
    rng, domains = seeded("topics", split), ("hotel", "restaurant")
    names = [f"{domain}.{label}" for domain in domains for label in ("positive", "negative")]
    clauses = {topic: lines + more[topic] for topic, lines in clauses_by_topic(sections, names, TOPICS).items()}
    own = {topic: share(clauses, topic, split) for topic in clauses}
    rows: dict[str, list[str]] = {}
    while len(rows) < TOPIC_ROWS[split]:
        domain, said = rng.choice(domains), draw_topics(rng, own)
        opener = rng.choice(sections[f"{domain}.openers"]).format(s=rng.choice(sections[f"{domain}.subjects"]))
        sentences = [*said.values()] if said and rng.random() < 0.5 else [opener, *said.values()]
        rows[" ".join(f"{capital(sentence)}." for sentence in sentences)] = sorted(said)
    return [{"text": text, "labels": held} for text, held in rows.items()]


def topics_zh(sections: Sections, count: int = 160) -> list[dict[str, object]]:
    """Return Chinese reviews of hotels and restaurants with the topics that they speak of."""
    rng, domains = seeded("topics_zh"), ("餐馆", "酒店")
    names = [f"{domain}.{label}" for domain in domains for label in ("正面", "负面")]
    clauses = clauses_by_topic(sections, names, TOPICS_ZH)
    rows: dict[str, list[str]] = {}
    while len(rows) < count:
        opener, said = rng.choice(sections[f"{rng.choice(domains)}.openers"]), draw_topics(rng, clauses)
        parts = [*said.values()] if said and rng.random() < 0.5 else [opener, *said.values()]
        rows["，".join(parts) + "。"] = sorted(said)
    return [{"text": text, "labels": held} for text, held in rows.items()]
