"""Which columns are a conversation, or a prompt and its answers."""

from __future__ import annotations

from collections.abc import Mapping

from llmkit.data.columns import is_string, item_of
from llmkit.data.conversions import judged_pairs, turn_rows
from llmkit.data.conversions.literals import parsed
from llmkit.data.evidence import ColumnProfile, Evidence, sampled
from llmkit.data.turns import are_keys_of_turns
from llmkit.errors import DataError
from llmkit.tasks.base import names
from llmkit.tasks.base.candidates import Candidate, Confidence

MESSAGE_NAMES = ("messages", "conversations", "conversation", "dialogue", "dialog", "chat", "turns", "dialogs", "对话")
LISTS_OF_TEXTS = (*MESSAGE_NAMES, "data")  # UltraChat's data are texts that user and assistant say in turn
USUAL_PAIRS = (  # of which no column says anything else
    ("prompt", "completion"),
    ("prompt", "response"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("instruction", "completion"),
)
ENDS_OF_SENTENCES = (".", "!", "?", "\u3002", "\uff01", "\uff1f")
ANSWERS_IN_CONTEXT = 0.8  # of the answers stand in the context, from which on they are extracted and not written
BETTER_WORDS = ("chosen", "preferred", "accepted", "better", "win", "winner", "good", "j")
WORSE_WORDS = ("rejected", "dispreferred", "refused", "worse", "lose", "loser", "nonpreferred", "bad", "k", "non")
PLACE_WORDS = frozenset({"start", "end", "idx", "index", "offset", "score"})  # of answers, which say nothing themselves
BESIDE_MESSAGES = ("system", "tools", "history")


def conversation_candidates(evidence: Evidence, given: Mapping[str, str]) -> list[Candidate]:
    """Return the ways to read a dataset as conversations: of messages, or of a text and its answer."""
    if set(given) & {"prompt", "completion"}:
        return _of_texts(evidence, given)
    try:
        of_turns = turn_rows.find(evidence.rows) if not given else None
    except DataError as error:
        return [Candidate({}, Confidence.CERTAIN, "a turn a row", problem=str(error))]
    if of_turns is not None:
        return [Candidate({"messages": "messages"}, Confidence.CERTAIN, "its rows are turns", (of_turns,))]
    of_texts = _of_texts(evidence, given) if "messages" not in given else []
    able = [column.name for column in _by_name(evidence, MESSAGE_NAMES) if holds_messages(column)]
    pairs = preference_candidates(evidence, {})
    if "messages" not in given and pairs:
        able = [name for name in able if name not in {pairs[0].columns["chosen"], pairs[0].columns["rejected"]}]
    if not given and judged_pairs.find(evidence.rows) is not None:
        return []  # who learns from one of two answers learns the worse ones too
    by_content = bool(able) and able[0].lower() not in MESSAGE_NAMES
    if by_content and of_texts and of_texts[0].confidence is Confidence.CERTAIN:
        return of_texts
    messages = given.get("messages") or next(iter(able), None)
    if messages is not None:
        columns = {"messages": messages, **_beside(evidence, BESIDE_MESSAGES, {messages}), **given}
        return [Candidate(columns, Confidence.CERTAIN, f"{messages} holds messages")]
    return of_texts


def holds_messages(column: ColumnProfile) -> bool:
    """Tell whether cells are lists of messages, or JSON or Python text of such."""
    item, name = item_of(column.feature), column.name.lower()
    if isinstance(item, dict):
        return are_keys_of_turns(item)
    if is_string(item):
        return name in LISTS_OF_TEXTS and any(len(cell) > 1 for cell in column.cells)
    if item_of(item) is not None:
        return name in MESSAGE_NAMES
    if column.is_string and column.cells and column.cells[0].lstrip().startswith("["):
        items = parsed(column.cells[0])
        first = items[0] if isinstance(items, list) and items else None
        return isinstance(first, dict) and are_keys_of_turns(first)
    return False


def holds_answers(column: ColumnProfile) -> bool:
    """Tell whether cells can be answers: texts, messages, or one message."""
    is_message = isinstance(column.feature, dict) and not {"content", "value"}.isdisjoint(column.feature)
    return column.is_string or holds_messages(column) or is_message or _holds_request(column)


def _holds_request(column: ColumnProfile) -> bool:
    """Tell whether cells are objects with messages, as OpenAI's files of preferences have them."""
    return isinstance(column.feature, dict) and isinstance(item_of(column.feature.get("messages")), dict)


def _by_name(evidence: Evidence, first: tuple[str, ...]) -> list[ColumnProfile]:
    """Return all columns, those with the usual names first."""
    usual = {name: place for place, name in enumerate(first)}
    columns = evidence.columns.values()
    return sorted(columns, key=lambda column: usual.get(column.name.lower(), len(usual)))


def _of_texts(evidence: Evidence, given: Mapping[str, str]) -> list[Candidate]:
    prompt, completion, sure = _prompt_and_completion(evidence, given)
    if prompt is None or completion is None or prompt.name == completion.name:
        return []
    taken = {prompt.name, completion.name, *given.values()}
    columns = {"prompt": prompt.name, "completion": completion.name}
    roles = ("system", "tools", "history") if prompt.name == "prompt" else ("input", "system", "tools", "history")
    columns |= _beside(evidence, roles, taken)
    columns |= given
    if "context" in columns:
        columns["input"] = columns.pop("context")
    if not sure and _is_extracted(evidence, columns):
        return []
    pair = None if "completion" in given else judged_pairs.answer_pair(evidence.features)
    if pair is not None and completion.name in pair:
        readings = [{**columns, "completion": name} for name in pair]
        return [Candidate(each, Confidence.POSSIBLE, f"{each['completion']} answers") for each in readings]
    reason = (
        f"{prompt.name} and {completion.name} are called so"
        if sure
        else f"{prompt.name} asks, {completion.name} answers"
    )
    confidence = Confidence.CERTAIN if sure else Confidence.LIKELY
    if not sure and _are_closed(completion):
        confidence = Confidence.POSSIBLE
    return [Candidate(columns, confidence, reason)]


def _are_closed(column: ColumnProfile) -> bool:
    """Tell whether answers are a few words that repeat, as yes and no or A to D: classes rather than what is said."""
    sentences = sum(str(cell).rstrip().endswith(ENDS_OF_SENTENCES) for cell in column.cells)
    return column.can_be_class and column.words < 2 and sentences < 0.5 * len(column.cells)


def _prompt_and_completion(
    evidence: Evidence, given: Mapping[str, str]
) -> tuple[ColumnProfile | None, ColumnProfile | None, bool]:
    """Return the columns of what is asked and of what is answered, and whether both names are the usual ones."""
    columns = evidence.columns
    usable = [column for column in columns.values() if _can_be_said(column) and column.name not in given.values()]
    named = {column.name.lower(): column for column in usable}
    for first, second in USUAL_PAIRS:
        prompt, completion = (
            columns[given[role]] if role in given else named.get(name)
            for role, name in (("prompt", first), ("completion", second))
        )
        if prompt is not None and completion is not None:
            return prompt, completion, True
    if {"context", "response"} == {name for name in named if name in {"context", "response", *names.PROMPT_WORDS}}:
        return named["context"], named["response"], False
    texts = [column for column in usable if not column.is_identifier or column.is_number]
    asking = [column for column in texts if not names.has_word(column.name, names.SYSTEM_WORDS)]
    prompt = columns[given["prompt"]] if "prompt" in given else names.first_named(asking, names.PROMPT_WORDS)
    rest = [column for column in texts if prompt is None or column.name != prompt.name]
    rest = [column for column in rest if not names.has_word(column.name, PLACE_WORDS)]
    completion = (
        columns[given["completion"]] if "completion" in given else names.first_named(rest, names.COMPLETION_WORDS)
    )
    return prompt, completion, len(given.keys() & {"prompt", "completion"}) == 2


def _can_be_said(column: ColumnProfile) -> bool:
    """Tell whether cells can be said by someone: texts, numbers, or messages."""
    is_said = column.is_string or column.is_number or holds_messages(column)
    return is_said and column.pattern not in {"url", "date", "email", "path"}


def _beside(evidence: Evidence, roles: tuple[str, ...], taken: set[str]) -> dict[str, str]:
    """Return the columns that go with a conversation, by role, as far as they hold anything."""
    words = {
        "system": names.SYSTEM_WORDS,
        "tools": ("tools", "functions"),
        "history": ("history", "历史"),
        "input": ("input", *names.CONTEXT_WORDS),
    }
    found: dict[str, str] = {}
    for role in roles:
        free = [column for column in evidence.columns.values() if column.name not in {*taken, *found.values()}]
        column = names.first_named(free, words[role])
        if column is not None and (not column.is_blank or role == "input") and _has_kind(role, column):
            found[role] = column.name
    return found


def _has_kind(role: str, column: ColumnProfile) -> bool:
    if role in {"input", "system"}:
        return column.is_string and column.pattern not in {"url", "date", "path"}
    return column.is_string or column.is_list


def _is_extracted(evidence: Evidence, columns: Mapping[str, str]) -> bool:
    """Tell whether the answers stand in a context word by word: those of reading comprehension."""
    context, answers = columns.get("input"), columns["completion"]
    if context is None:
        return False
    rows = sampled(evidence.rows, 200)
    pairs = [(str(row[context] or ""), str(row[answers] or "")) for row in rows]
    inside = [answer.strip() in text for text, answer in pairs if text.strip() and answer.strip()]
    return bool(inside) and sum(inside) >= ANSWERS_IN_CONTEXT * len(inside)


def preference_candidates(evidence: Evidence, given: Mapping[str, str]) -> list[Candidate]:
    """Return the ways to read a dataset as a prompt and two answers, of which one is preferred."""
    columns = evidence.columns
    able = [column for column in columns.values() if holds_answers(column)]
    worse = [column for column in able if _is_worse(column)]
    better = [column for column in able if column not in worse]
    chosen = _answer(better, given, "chosen", BETTER_WORDS)
    rejected = _answer(worse, given, "rejected", WORSE_WORDS)
    judged = None if given or (chosen and rejected) else judged_pairs.find(evidence.rows)
    if judged is not None:
        return [_of_judged(evidence, judged)]
    pair = None if given or (chosen and rejected) else judged_pairs.answer_pair(evidence.features)
    if pair is not None:
        return _of_either(evidence, pair)
    if chosen is None or rejected is None or chosen == rejected:
        return []
    taken = {chosen, rejected, *given.values()}
    rest = [column for column in columns.values() if column.name not in taken and (holds_answers(column))]
    prompt = given.get("prompt") or next((column.name for column in rest if column.name.lower() == "prompt"), None)
    if prompt is None:
        others = [column for column in rest if holds_answers(column)]
        named = names.first_named(others, names.PROMPT_WORDS) or next(
            (column for column in others if holds_messages(column)), None
        )
        prompt = named.name if named else None
    found = {"prompt": prompt} if prompt else {}
    beside = _beside(evidence, ("system",), {*taken, *found.values()})
    exact = (chosen.lower(), rejected.lower()) == ("chosen", "rejected")
    confidence = Confidence.CERTAIN if exact else Confidence.LIKELY
    named_columns = {**found, **beside, "chosen": chosen, "rejected": rejected, **given}
    return [Candidate(named_columns, confidence, f"{chosen} and {rejected} are two answers")]


def _of_judged(evidence: Evidence, judged: judged_pairs.JudgedPairConversion) -> Candidate:
    """Return the reading of two answers of which a column names the better one."""
    taken = set(judged.reads)
    rest = [column for column in evidence.columns.values() if column.name not in taken and column.is_string]
    whole = holds_messages(evidence.columns[judged.answers[0]])
    prompt = None if whole else names.first_named(rest, (*names.PROMPT_WORDS, "history", "post", "context"))
    found = {"prompt": prompt.name} if prompt else {}
    more = {} if whole else _beside(evidence, ("system", "input"), {*taken, *found.values()})
    columns = {**found, **more, "chosen": "chosen", "rejected": "rejected"}
    reason = f"{judged.judgement[0]} says which of {judged.answers[0]} and {judged.answers[1]} is better"
    return Candidate(columns, Confidence.CERTAIN, reason, (judged,))


def _of_either(evidence: Evidence, pair: tuple[str, str]) -> list[Candidate]:
    """Return both readings of two answers of which nothing says which is better."""
    rest = [column for column in evidence.columns.values() if column.name not in pair and column.is_string]
    prompt = names.first_named(rest, names.PROMPT_WORDS)
    if prompt is None:
        return []
    return [
        Candidate(
            {"prompt": prompt.name, "chosen": chosen, "rejected": rejected},
            Confidence.POSSIBLE,
            f"{chosen} is better than {rejected}",
        )
        for chosen, rejected in (pair, pair[::-1])
    ]


def _is_worse(column: ColumnProfile) -> bool:
    words = set(column.words_of_name)
    return bool(words & {*WORSE_WORDS}) or ("preferred" in words and bool(words & {"non", "not", "less"}))


def _answer(columns: list[ColumnProfile], given: Mapping[str, str], role: str, words: tuple[str, ...]) -> str | None:
    if role in given:
        return given[role]
    exact = next((column.name for column in columns if column.name.lower() == role), None)
    named = names.first_named(columns, words)
    return exact or (named.name if named else None)
