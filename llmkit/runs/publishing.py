"""A finished run on the Hub: which of its files belong there, and which of them are there already."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.errors import HubError, ModelError, OptionError
from llmkit.errors.libraries import translated
from llmkit.models.weight_files import check_headers
from llmkit.options import PushOptions
from llmkit.output.report import Report
from llmkit.runs import folder as runs
from llmkit.runs.card import card, is_untouched
from llmkit.runs.record import RunRecord

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

CARD = "README.md"
BYTES_PER_READ = 1 << 20


@dataclass(frozen=True)
class Pushed:
    """What a push came to."""

    repo: str
    url: str
    commit: str
    uploaded: dict[str, int]  # sizes in bytes, by name
    removed: list[str]
    unchanged: list[str]

    def as_dict(self) -> dict[str, object]:
        """Return the result that --json prints."""
        return {
            "schema": runs.SCHEMA,
            "repo": self.repo,
            "url": self.url,
            "commit": self.commit,
            "uploaded": [{"path": name, "bytes": size} for name, size in self.uploaded.items()],
            "removed": self.removed,
            "unchanged": self.unchanged,
        }


def push(
    run: str, repo: str, options: PushOptions | None = None, report: Report | None = None, dry_run: bool = False
) -> Pushed | None:
    """Upload the files of a finished run that the repository does not hold as they are; None after a dry run.

    Files that a run leaves and that this one has not, an earlier push's, are removed there.

    Raises:
        OptionError: the repository's name is malformed.
        ModelError: the folder is no finished run.
        HubError: there is no token, or the Hub cannot be reached or refuses.
    """
    options, report = options or PushOptions(), report or Report()
    _require_name(repo)
    folder, run_record = _require_finished(run)
    files = _contents(folder, run_record, repo.partition("/")[2], report)
    for name, content in files.items():
        report.say(f"{_size(content):>14,} bytes  {name}")
    if dry_run:
        return None
    _require_token(repo)
    return _upload(repo, files, options.message or _message(run_record), options.private, report)


def _require_name(repo: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # documented, not re-exported

    try:
        validate_repo_id(repo)
        if repo.count("/") != 1:
            raise HFValidationError("it has no owner")
    except HFValidationError:
        raise OptionError(f"{repo!r} is no name on the Hub, which reads owner/name: me/my-model") from None


def _require_finished(run: str) -> tuple[Path, RunRecord]:
    folder = Path(run).expanduser()
    if not folder.is_dir():
        raise ModelError(f"there is no run folder {run!r}; push takes one that finetune, pretrain or merge left")
    run_record = runs.read_run(folder)
    if run_record is None or "data" not in run_record:
        raise ModelError(f"{run!r} is no run of llmkit (no run.json); push takes one that finetune or pretrain left")
    if run_record.get("status") != "finished":
        raise ModelError(
            f"the run in {run!r} is {run_record.get('status')}, not finished: the command that began it ends it"
        )
    check_headers(folder, run)
    return folder, run_record


def _contents(folder: Path, run_record: RunRecord, name: str, report: Report) -> dict[str, Path | bytes]:
    """Return what belongs on the Hub, by name: paths, and the card as bytes where llmkit writes it anew."""
    paths = {path.name: path for pattern in runs.MADE_HERE for path in folder.glob(pattern) if path.is_file()}
    files: dict[str, Path | bytes] = dict(sorted(paths.items()))
    written = paths.get(CARD)
    if written is not None and not is_untouched(written.read_text(encoding="utf-8", errors="replace")):
        report.say(f"{CARD}: edited by hand, and goes as it is")
    else:
        files[CARD] = card(run_record, name).encode()
    return files


def _require_token(repo: str) -> None:
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise HubError(f"{repo!r} cannot be pushed to: the Hub is switched off here (HF_HUB_OFFLINE)")
    if get_token() is None:
        raise HubError(f"{repo!r} cannot be pushed to without a token: `hf auth login` keeps one, or HF_TOKEN holds it")


def _message(run_record: RunRecord) -> str:
    result = run_record.get("result")
    if not result:
        return f"llmkit {run_record['command']}"
    name = result["headline"]
    return f"llmkit {run_record['command']}: {name} {result['metrics'][name]['value']:.4f} on {result['dataset']}"


def _upload(repo: str, files: dict[str, Path | bytes], message: str, private: bool, report: Report) -> Pushed:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi()
    with translated("model", repo):
        url = str(api.create_repo(repo, private=private or None, exist_ok=True))
        info = api.model_info(repo, files_metadata=True)
    there = {entry.rfilename: entry for entry in info.siblings or ()}
    if CARD in there and _edited(repo, info.sha):
        report.warn(f"{CARD} was edited on the Hub, and is kept: its figures may be those of an earlier push")
        files = {name: content for name, content in files.items() if name != CARD}
        del there[CARD]
    changed = {name: content for name, content in files.items() if not _same(there.get(name), content)}
    left = [name for name in there if name not in files and _made_here(name)]
    unchanged = sorted(files.keys() - changed.keys())
    if not changed and not left:
        report.say(f"nothing changed: {repo} holds this run already")
        return Pushed(repo, url, str(info.sha), {}, [], unchanged)
    operations = [*(CommitOperationAdd(name, content) for name, content in changed.items())]
    with translated("model", repo):
        made = api.create_commit(
            repo, [*operations, *(CommitOperationDelete(name) for name in left)], commit_message=message
        )
    report.say(f"pushed {len(changed)} files ({len(unchanged)} unchanged, {len(left)} removed): {message}")
    return Pushed(repo, url, made.oid, {name: _size(content) for name, content in changed.items()}, left, unchanged)


def _edited(repo: str, commit: str | None) -> bool:
    """Tell whether the card on the Hub is of another hand than llmkit's."""
    from huggingface_hub import hf_hub_download

    with translated("model", repo):
        file = hf_hub_download(repo, CARD, revision=commit)
    return not is_untouched(Path(file).read_text(encoding="utf-8", errors="replace"))


def _made_here(name: str) -> bool:
    return any(Path(name).match(pattern) for pattern in runs.MADE_HERE) and "/" not in name


def _same(entry: RepoSibling | None, content: Path | bytes) -> bool:
    """Tell whether the Hub's file is this one, by the hash that it names files by."""
    if entry is None or entry.size != _size(content):
        return False
    if entry.lfs is not None:
        return bool(entry.lfs.sha256 == _digest(content, "sha256"))
    return bool(entry.blob_id == _digest(content, "sha1", b"blob %d\0" % entry.size))


def _digest(content: Path | bytes, algorithm: str, header: bytes = b"") -> str:
    state = hashlib.new(algorithm, header)
    if isinstance(content, bytes):
        state.update(content)
    else:
        with content.open("rb") as file:
            while chunk := file.read(BYTES_PER_READ):
                state.update(chunk)
    return state.hexdigest()


def _size(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size
