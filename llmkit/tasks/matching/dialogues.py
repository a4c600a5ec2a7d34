"""Which columns are a conversation, or a prompt and its answers."""

from __future__ import annotations

from collections.abc import Mapping

from llmkit.data.columns import item_of
from llmkit.data.evidence import ColumnProfile, Evidence, sampled
from llmkit.tasks.base import names
from llmkit.tasks.base.candidates import Candidate, Confidence

MESSAGE_KEYS = ({"role", "content"}, {"from", "value"}, {"role", "text"}, {"speaker", "text"}, {"author", "content"})
MESSAGE_NAMES = ("messages", "conversations", "conversation", "dialogue", "dialog", "chat", "turns", "对话")
USUAL_PAIRS = (  # of which no column says anything else
    ("prompt", "completion"),
    ("prompt", "response"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("instruction", "completion"),
)
ENDS_OF_SENTENCES = (".", "!", "?", "\u3002", "\uff01", "\uff1f")
ANSWERS_IN_CONTEXT = 0.8  # of the answers stand in the context, from which on they are extracted and not written
BESIDE_MESSAGES = ("system", "tools", "history")


def conversation_candidates(evidence: Evidence, given: Mapping[str, str]) -> list[Candidate]:
    """Return the ways to read a dataset as conversations: of messages, or of a text and its answer."""
    if set(given) & {"prompt", "completion"}:
        return _of_texts(evidence, given)
    of_texts = _of_texts(evidence, given) if "messages" not in given else []
    able = [column.name for column in _by_name(evidence, MESSAGE_NAMES) if holds_messages(column)]
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
    item = item_of(column.feature)
    if isinstance(item, dict):
        return any(keys <= {key.lower() for key in item} for keys in MESSAGE_KEYS)
    if item_of(item) is not None:
        return column.name.lower() in MESSAGE_NAMES
    if column.is_string and column.cells:
        first = column.cells[0].lstrip()
        return first.startswith("[") and any(all(f"{key}" in first for key in keys) for keys in MESSAGE_KEYS)
    return False


def holds_answers(column: ColumnProfile) -> bool:
    """Tell whether cells can be answers: texts, messages, or one message."""
    return (
        column.is_string or holds_messages(column) or (isinstance(column.feature, dict) and "content" in column.feature)
    )


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
    texts = [column for column in usable if not column.is_identifier or column.is_number]
    asking = [column for column in texts if not names.has_word(column.name, names.SYSTEM_WORDS)]
    prompt = columns[given["prompt"]] if "prompt" in given else names.first_named(asking, names.PROMPT_WORDS)
    rest = [column for column in texts if prompt is None or column.name != prompt.name]
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
    chosen = _answer(able, given, "chosen", ("chosen", "preferred", "accepted", "better", "win", "winner"))
    rejected = _answer(able, given, "rejected", ("rejected", "dispreferred", "refused", "worse", "lose", "loser"))
    if chosen is None or rejected is None or chosen == rejected:
        return []
    taken = {chosen, rejected, *given.values()}
    rest = [column for column in columns.values() if column.name not in taken and (holds_answers(column))]
    prompt = given.get("prompt") or next((column.name for column in rest if column.name.lower() == "prompt"), None)
    if prompt is None:
        others = [column for column in rest if holds_messages(column) or column.is_text or column.is_string]
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


def _answer(columns: list[ColumnProfile], given: Mapping[str, str], role: str, words: tuple[str, ...]) -> str | None:
    if role in given:
        return given[role]
    exact = next((column.name for column in columns if column.name.lower() == role), None)
    named = names.first_named(columns, words)
    return exact or (named.name if named else None)


def unpaired_problem(column: str) -> str:
    """Return the sentence on answers that a column judges: who learns from all of them learns the bad ones too."""
    return (
        f"{column} says which answers are good and which are bad, and training would learn from both: keep the rows "
        f"with good answers in a file of their own without {column}, or name what is wanted, as in "
        f"--task text-classification --column label={column}"
    )
