"""Write the sample data of this folder from the hand-written material in ``source/``.

``python examples/make_data.py`` rewrites every data file byte for byte: all draws come from seeded generators.
"""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
SEED = "llmkit-examples-1"
CORPUS_BYTES = 400_000
SPLITS = {"train": 600, "validation": 120, "test": 120}
DOMAINS = ("film", "book", "hotel", "restaurant", "kitchen", "gear", "app", "class")
DOMAINS_ZH = ("餐馆", "酒店", "电影", "电器", "软件")
OPPOSITE = {"positive": "negative", "negative": "positive", "正面": "负面", "负面": "正面"}
WORDS_PER_REVIEW = range(5, 41)
TOPIC_ROWS = {"train": 600, "validation": 100, "test": 100}
TOPICS = {
    "food": "food breakfast dessert drinks", "place": "place", "price": "price", "room": "room bed quiet",
    "service": "staff wait",
}  # fmt: skip
TOPICS_ZH = {"餐饮": "菜 早餐", "环境": "环境 位置", "价格": "价格", "房间": "房间 床 安静", "服务": "服务 速度"}

Sections = dict[str, list[str]]
Row = tuple[str, ...]


def read_sections(name: str) -> Sections:
    """Return the lines of ``source/<name>`` by their ``[section]``; blank lines and ``#`` comments are skipped."""
    sections: Sections = {}
    lines: list[str] = []
    for raw in (HERE / "source" / name).read_text(encoding="utf-8").splitlines():
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            lines = sections.setdefault(line[1:-1], [])
        elif line and not line.startswith("#"):
            lines.append(line)
    return sections


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 with plain newlines on every system."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8"))


def write_csv(path: Path, header: Row, rows: Iterable[Row]) -> None:
    """Write a header and rows, quoting only where CSV needs it."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def write_jsonl(path: Path, rows: Iterable[dict[str, object]]) -> None:
    """Write one JSON object a line."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def seeded(*parts: str) -> random.Random:
    """Return a generator of its own for each purpose, so that a change in one file leaves the others alone."""
    return random.Random(":".join((SEED, *parts)))


def capital(text: str) -> str:
    """Capitalise the first letter, also behind an opening quotation mark."""
    start = 1 if text[:1] in '"“' else 0
    return text[:start] + text[start : start + 1].upper() + text[start + 1 :]


def share(sections: Sections, name: str, split: str) -> list[str]:
    """Return the part of a section that belongs to one split: three of each five lines train, one each the others.

    The positive and the negative section of a name are divided alike: many of their lines are written as opposites,
    and a line whose opposite is in another split would be a trap.
    """
    rng = seeded("share", name.split(".")[0])
    owners: list[str] = []
    while len(owners) < len(sections[name]):
        owners += rng.sample(["train", "train", "train", "validation", "test"], 5)
    return [line for line, owner in zip(sections[name], owners, strict=False) if owner == split]


def draw_pair(rng: random.Random, first: Sequence[str], second: Sequence[str]) -> tuple[str, str]:
    """Draw one "aspect: clause" from each list such that the two are about different aspects; return the clauses."""
    while True:
        one, two = rng.choice(first).split(": ", 1), rng.choice(second).split(": ", 1)
        if one[0] != two[0]:
            return one[1], two[1]


def join_clauses(rng: random.Random, main: str, other: str, contrast: bool) -> str:
    """Join two clauses into sentences. In a contrast the ``main`` clause carries the verdict."""
    if contrast:
        form = rng.choice(
            ("{o}, but {m}.", "{o}, but {m}.", "Although {o}, {m}.", "{m}, although {o}.", "{o}. Still, {m}.")
        )
    elif "," in main or " and " in main or " and " in other:
        form = rng.choice(("{m}. {o}.", "{m}. Also, {o}."))
    else:
        form = rng.choice(("{m}, and {o}.", "{m} and {o}.", "{m}. {o}.", "{m}; {o}."))
    return re.sub(r"(^|\. )(\S)", lambda match: match[1] + match[2].upper(), form.format(m=main, o=other))


def build_review(rng: random.Random, sections: Sections, split: str, label: str) -> str:
    """Put together one review: perhaps an opener, one or two clauses (a fifth of the reviews at odds), a verdict."""
    domain = rng.choice(DOMAINS)
    good = share(sections, f"{domain}.{label}", split)
    overall = [line for line in good if line.startswith("overall: ")]
    details = [line for line in share(sections, f"{domain}.{OPPOSITE[label]}", split) if "overall: " not in line]
    kind = rng.choices(("single", "agree", "contrast"), (25, 55, 20))[0]
    if kind == "single":
        body = capital(rng.choice(good).split(": ", 1)[1]) + rng.choice("...!")
    else:
        main, other = draw_pair(rng, rng.choice((good, overall or good)), details if kind == "contrast" else good)
        body = join_clauses(rng, main, other, contrast=kind == "contrast")
    subject = rng.choice(sections[f"{domain}.subjects"])
    opener = capital(rng.choice(share(sections, f"{domain}.openers", split)).format(s=subject)) + "."
    verdict = capital(rng.choice(share(sections, f"verdict.{label}", split))) + rng.choice("...!")
    shapes: list[Row] = [(opener, body, verdict), (body, verdict), (verdict, body)]
    if kind == "agree":
        shapes += [(opener, body), (body,)]
    return " ".join(rng.choice(shapes))


def reviews(sections: Sections, split: str) -> list[Row]:
    """Return the rows of one split, 45 negative to 55 positive, with its share of the whole reviews."""
    rng = seeded("reviews", split)
    rows: list[Row] = []
    seen: set[str] = set()
    for label, part in (("negative", 0.45), ("positive", 0.55)):
        texts = share(sections, f"whole.{label}", split)
        while len(texts) < round(SPLITS[split] * part):
            text = build_review(rng, sections, split, label)
            if text not in seen and len(text.split()) in WORDS_PER_REVIEW:
                texts.append(text)
                seen.add(text)
        rows += [(text, label) for text in texts]
    rng.shuffle(rows)
    return rows


def reviews_zh(sections: Sections, count: int = 200) -> list[Row]:
    """Return Chinese reviews, half of them positive; a quarter of the clause pairs are at odds."""
    rng = seeded("reviews_zh")
    rows: list[Row] = []
    for label in ("正面", "负面"):
        texts = dict.fromkeys(sections[f"整句.{label}"])
        while len(texts) < count // 2:
            domain = rng.choice(DOMAINS_ZH)
            good, bad = sections[f"{domain}.{label}"], sections[f"{domain}.{OPPOSITE[label]}"]
            contrast = rng.random() < 0.25
            main, other = draw_pair(rng, good, bad if contrast else good)
            agree = rng.choice((f"{main}，{other}", f"{main}。{other}", f"{main}，而且{other}", main))
            body = rng.choice((f"{other}，不过{main}", f"虽然{other}，但是{main}")) if contrast else agree
            opener = rng.choice(("", rng.choice(sections[f"{domain}.openers"]) + rng.choice("，。")))
            verdict = rng.choice(("", "。" + rng.choice(sections[f"总评.{label}"])))
            texts[opener + body + verdict + rng.choice("。。！")] = None
        rows += [(text, label) for text in texts]
    rng.shuffle(rows)
    return rows


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


def paraphrases(sections: Sections, count: int = 300) -> list[dict[str, object]]:
    """Return pairs, each base sentence once with a paraphrase (1) and once with a look-alike of other meaning (0)."""
    rng = seeded("pairs")
    triples = dict.fromkeys(sections["hand"])
    while len(triples) < count // 2:
        frame = sections["frames"][len(triples) % len(sections["frames"])]
        a, b = rng.sample(sections["people"], 2)
        slots = {name: rng.choice(sections[full]) for name, full in (("t", "things"), ("p", "places"), ("d", "days"))}
        triples[frame.format(a=a, b=b, **slots)] = None
    rows: list[dict[str, object]] = []
    for triple in triples:
        base, same, other = triple.split(" | ")
        for label, second in ((1, same), (0, other)):
            one, two = rng.sample((base, second), 2)
            rows.append({"sentence1": one, "sentence2": two, "label": label})
    rng.shuffle(rows)
    return rows


def related(rng: random.Random, lines: Sequence[str]) -> tuple[str, str, str, float]:
    """Draw two wordings of one section; return them, their groups as "one/two" and how alike they are (0 to 1)."""
    (group, meaning), (group2, meaning2) = (line.split(": ", 1) for line in rng.choices(lines, k=2))
    if rng.random() < 0.5:
        group2, meaning2 = group, meaning
    one, two = rng.choice(meaning.split(" / ")), rng.choice(meaning2.split(" / "))
    alike = 1.0 if one == two else 0.9 if meaning == meaning2 else 0.4 if group == group2 else 0.05
    return one, two, f"{group}/{group2}", alike


def similarities(sections: Sections, count: int = 200) -> list[Row]:
    """Return scored pairs: the hand-scored ones, and scenes scored by how alike who, what and where are."""
    rng = seeded("similarity")
    rows: list[Row] = []
    for line in sections["hand"]:
        score, one, two = line.split(" | ")
        rows.append((one, two, score))
    seen: set[tuple[str, str]] = set()
    while len(rows) < count:
        (who, who2, _, w), (what, what2, kind, a), (where, where2, place, p) = (
            related(rng, sections[name]) for name in ("agent", "action", "place")
        )
        if ("sport" in kind and "in" in place.split("/")) or (who, what, where) == (who2, what2, where2):
            continue
        pair = (scene(who, what, where), scene(who2, what2, where2))
        if pair not in seen:
            seen.add(pair)
            rows.append((*pair, f"{5 * (0.3 * w + 0.45 * a + 0.25 * p):.2f}"))
    rng.shuffle(rows)
    return rows


def scene(who: str, what: str, where: str) -> str:
    """Return one caption, such as "Two boys are cycling in a park."."""
    plural = who.startswith(("two ", "a couple ", "several ", "a few "))
    return capital(f"{who} {'are' if plural else 'is'} {what} {where}.")


PRONOUNS = {
    "f": {"he": "she", "him": "her", "his": "her", "himself": "herself"},
    "m": {"he": "he", "him": "him", "his": "his", "himself": "himself"},
}


class Story:
    """One telling: remembers who the hero is, what has been bound, and which lines were used."""

    def __init__(self, rng: random.Random, grammar: Sections) -> None:
        self.rng = rng
        self.grammar = grammar
        self.used: set[str] = set()
        hero, friend = rng.choice(("fm", "mf"))
        self.bound = dict(PRONOUNS[hero])
        self.bound |= {f"f{name}": word for name, word in PRONOUNS[friend].items()}
        self.bound |= {"hero": rng.choice(grammar[f"name_{hero}"]), "friend": rng.choice(grammar[f"name_{friend}"])}
        self.bind = dict(line.split(" = ") for line in grammar["bind"])

    def draw(self, section: str) -> str:
        """Draw a line of a section that this story has not used yet, and fill in its slots."""
        lines = self.grammar[section]
        line = self.rng.choice([line for line in lines if line not in self.used] or lines)
        self.used.add(line)
        return re.sub(r"\{(a )?(\w+)\}", self.fill, line)

    def fill(self, slot: re.Match[str]) -> str:
        """Replace one slot, with its article where it asks for one."""
        name = slot[2]
        if name in self.bind and name not in self.bound:
            self.bound[name] = self.draw(self.bind[name][1:-1])
        text = self.bound[name] if name in self.bound else self.draw(name)
        return f"{'an' if text[0] in 'aeiou' else 'a'} {text}" if slot[1] else text

    def tell(self, plot: str) -> str:
        """Return the story of one plot, as paragraphs on lines of their own."""
        paragraphs = re.sub(r"\{(a )?(\w+)\}", self.fill, plot).split(" | ")
        starts = re.compile(r"(^|[.!?]\"? )(\"?)([a-z])")
        said = re.compile(r"[!?]\" [a-z]")
        return "\n".join(
            starts.sub(lambda m: m[0] if said.match(m[0]) else m[1] + m[2] + m[3].upper(), text) for text in paragraphs
        )


def corpus(grammar: Sections) -> str:
    """Return stories, the plots in turn, with a blank line between them, up to the wanted size."""
    rng = seeded("corpus")
    stories: list[str] = []
    size = 0
    while size < CORPUS_BYTES:
        plot = grammar["plot"][len(stories) % len(grammar["plot"])]
        stories.append(Story(rng, grammar).tell(plot))
        size += len(stories[-1].encode("utf-8")) + 2
    rng.shuffle(stories)
    return "\n\n".join(stories) + "\n"


def main(target: Path = HERE) -> None:
    """Write every data file below ``target``."""
    english, misc = read_sections("reviews.txt"), read_sections("misc.txt")
    more = read_sections("topics.txt")
    for split in SPLITS:
        write_csv(target / "reviews" / f"{split}.csv", ("text", "label"), reviews(english, split))
        write_jsonl(target / "topics" / f"{split}.jsonl", topics(english, more, split))
    chinese = read_sections("reviews_zh.txt")
    write_csv(target / "reviews_zh.csv", ("text", "label"), reviews_zh(chinese))
    write_jsonl(target / "topics_zh.jsonl", topics_zh(chinese))
    write_jsonl(target / "pairs.jsonl", paraphrases(read_sections("pairs.txt")))
    scored = similarities(read_sections("similarity.txt"))
    write_csv(target / "similarity.csv", ("sentence1", "sentence2", "score"), scored)
    write_text(target / "corpus.txt", corpus(read_sections("stories.txt") | read_sections("stories_words.txt")))
    prompts = enumerate(misc["prompts"], start=1)
    write_jsonl(target / "prompts.jsonl", ({"id": f"story-{number}", "prompt": text} for number, text in prompts))
    write_text(target / "unlabelled.txt", "".join(line + "\n" for line in misc["unlabelled"]))


if __name__ == "__main__":
    main()
