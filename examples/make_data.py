"""Write the sample data of this folder from the hand-written material in ``source/``.

``python examples/make_data.py`` rewrites every data file byte for byte: all draws come from seeded generators.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path

from sample_files import HERE, Row, Sections, capital, read_sections, seeded, share, write_csv, write_jsonl, write_text
from sample_topics import topics, topics_zh

CORPUS_BYTES = 400_000
SPLITS = {"train": 600, "validation": 120, "test": 120}
DOMAINS = ("film", "book", "hotel", "restaurant", "kitchen", "gear", "app", "class")
DOMAINS_ZH = ("餐馆", "酒店", "电影", "电器", "软件")
OPPOSITE = {"positive": "negative", "negative": "positive", "正面": "负面", "负面": "正面"}
WORDS_PER_REVIEW = range(5, 41)


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
    align_columns = 1.0 if one == two else 0.9 if meaning == meaning2 else 0.4 if group == group2 else 0.05
    return one, two, f"{group}/{group2}", align_columns


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
