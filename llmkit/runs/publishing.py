"""A finished run on the Hub: which of its files belong there, and which of them are there already."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llmkit.errors import HubError, LlmkitError, ModelError, OptionError, brief, listing
from llmkit.errors.libraries import translated
from llmkit.models.weight_files import check_headers
from llmkit.options import PushOptions
from llmkit.output.report import Report
from llmkit.runs import folder as runs
from llmkit.runs.card import card, is_untouched
from llmkit.runs.record import RunRecord
from llmkit.runs.repository import CARD, MANIFEST, MAX_FILES_SHOWN, RUN, Changes, Content, Repository, changes, size

CONFIGS = ("config.json", "adapter_config.json")
CHANGED_MEANWHILE = (409, 412)  # what the Hub answers where `parent_commit` is not the newest commit


@dataclass(frozen=True)
class Pushed:
    """What a push came to, or what it would come to where `commit` is None."""

    repo: str
    url: str | None
    commit: str | None
    changes: Changes
    looked_up: bool = True  # False where the Hub could not be asked what is there
    new: bool = False

    def as_dict(self) -> dict[str, object]:
        """Return the result that --json prints: see `output/schemas/push.schema.json`."""
        made = self.changes
        return {
            "schema": runs.SCHEMA,
            "repo": self.repo,
            "url": self.url,
            "commit": self.commit,
            "looked_up": self.looked_up,
            "new": self.new,
            "uploaded": [{"path": name, "bytes": size(content)} for name, content in made.uploaded.items()],
            "replaced": made.replaced,
            "removed": made.removed,
            "unchanged": made.unchanged,
            "kept": made.kept,
            "refused": made.refused,
        }


def push(
    run: str, repo: str, options: PushOptions | None = None, report: Report | None = None, dry_run: bool = False
) -> Pushed:
    """Upload the files of a finished run that the repository does not hold as they are; a dry run only compares.

    What an earlier push left there and this run has not is removed; files of other hands stay, unless they are to be
    replaced. A dry run puts those that are in the way into `changes.refused`.

    Raises:
        OptionError: the repository's name is malformed, or files of other hands are in the way.
        ModelError: the folder is no finished run.
        HubError: there is no token, the Hub cannot be reached or refuses, or the repository changed meanwhile.
    """
    options, report = options or PushOptions(), report or Report()
    _require_name(repo)
    folder, run_record = _require_finished(run)
    files = _contents(folder, run_record, repo.partition("/")[2], report)
    if dry_run:
        return _dry_run(repo, files, options, report)
    _require_token(repo)
    repository = _look_up(repo)
    made = changes(repository, files, options.replace)
    _say(repo, repository, made, report)
    made.require_allowed(repo)
    return _upload(repo, repository, made, options, options.message or _message(run_record), report)


def _dry_run(repo: str, files: dict[str, Content], options: PushOptions, report: Report) -> Pushed:
    try:
        _require_online(repo)
        repository, looked_up = _look_up(repo), True
    except LlmkitError as error:
        report.warn(f"what {repo} holds could not be looked up, and is not compared: {error}")
        repository, looked_up = Repository(is_new=True), False
    made = changes(repository, files, options.replace)
    _say(repo, repository, made, report)
    if looked_up and repository.is_new:
        report.say(f"{repo} is not there yet, or is private and not visible without its token: it would be new")
    return Pushed(repo, None, None, made, looked_up, looked_up and repository.is_new)


def _say(repo: str, repository: Repository, made: Changes, report: Report) -> None:
    """Say what goes up, and what becomes of the files that are there."""
    for name, content in made.uploaded.items():
        report.say(f"{size(content):>14,} bytes  {name}{' (replaced)' if name in made.replaced else ''}")
    if repository.is_earlier_push:
        report.say(
            f"{repo} was pushed to by a llmkit that left no list of its files ({MANIFEST}): those called as this run's "
            "are taken for its own, and other tokenizers and weights are kept"
        )
    if made.removed:
        report.say(f"removed there: {listing(made.removed)}")
    if made.kept:
        report.say(f"kept there, not of llmkit: {listing(made.kept, MAX_FILES_SHOWN)}")
    if CARD in made.kept:
        report.warn(f"{CARD} was written by hand there, and is kept: its figures may be those of an earlier push")


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
    if run_record is None or not ("data" in run_record or "merged" in run_record):
        raise ModelError(
            f"{run!r} is no run of llmkit (no run.json); push takes one that finetune, pretrain or merge left"
        )
    if run_record.get("status") != "finished":
        raise ModelError(
            f"the run in {run!r} is {run_record.get('status')}, not finished: the command that began it ends it"
        )
    check_headers(folder, run)
    if not any((folder / name).is_file() for name in CONFIGS):
        raise ModelError(f"the run in {run!r} has lost its config.json, and no model opens without one")
    try:
        card(run_record, folder.name)
        _message(run_record)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"the run.json in {run!r} is not as llmkit left it ({brief(error)}): the command that made it makes another"
        ) from error
    return folder, run_record


def _contents(folder: Path, run_record: RunRecord, name: str, report: Report) -> dict[str, Content]:
    """Return what belongs on the Hub, by name: paths, and the card as bytes where llmkit writes it anew."""
    paths = {path.name: path for pattern in runs.MADE_HERE for path in folder.glob(pattern) if path.is_file()}
    files: dict[str, Content] = dict(sorted(paths.items()))
    written = paths.get(CARD)
    if written is not None and not is_untouched(written.read_text(encoding="utf-8", errors="replace")):
        report.say(f"{CARD}: edited by hand, and goes as it is")
    else:
        files[CARD] = card(run_record, name).encode()
    return files


def _require_online(repo: str) -> None:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise HubError(f"{repo!r} cannot be reached: the Hub is switched off here (HF_HUB_OFFLINE)")


def _require_token(repo: str) -> None:
    from huggingface_hub import get_token

    _require_online(repo)
    if get_token() is None:
        raise HubError(f"{repo!r} cannot be pushed to without a token: `hf auth login` keeps one, or HF_TOKEN holds it")


def _message(run_record: RunRecord) -> str:
    result, merged = run_record.get("result"), run_record.get("merged")
    if merged:
        return f"llmkit merge: {merged['equal']} of {merged['prompts']} answers as the adapter's"
    if not result:
        return f"llmkit {run_record['command']}"
    name = result["headline"]
    return f"llmkit {run_record['command']}: {name} {result['metrics'][name]['value']:.4f} on {result['dataset']}"


def _look_up(repo: str) -> Repository:
    """Return what the repository holds; nothing where there is none."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import RepositoryNotFoundError

    texts = {}
    with translated("model", repo):
        try:
            info = HfApi().model_info(repo, files_metadata=True)
        except RepositoryNotFoundError:
            return Repository(is_new=True)
        files = {entry.rfilename: entry for entry in info.siblings or ()}
        for name in (CARD, RUN, MANIFEST):
            if name in files:
                text = Path(hf_hub_download(repo, name, revision=info.sha)).read_text(
                    encoding="utf-8", errors="replace"
                )
                texts[name] = text
    return Repository(files, info.sha, texts)


def _upload(
    repo: str, repository: Repository, made: Changes, options: PushOptions, message: str, report: Report
) -> Pushed:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api, commit = HfApi(), repository.commit
    with translated("model", repo):
        url = str(api.create_repo(repo, private=options.private or None, exist_ok=True))
        commit = api.model_info(repo).sha if commit is None else commit
    if not made.uploaded and not made.removed:
        report.say(f"nothing changed: {repo} holds this run already")
        return Pushed(repo, url, str(commit), made)
    operations = [*(CommitOperationAdd(name, content) for name, content in made.uploaded.items())]
    gone = [CommitOperationDelete(name, is_folder=False) for name in made.removed]
    with translated("model", repo):
        try:
            done = api.create_commit(repo, [*operations, *gone], commit_message=message, parent_commit=commit)
        except HfHubHTTPError as error:
            if error.response is None or error.response.status_code not in CHANGED_MEANWHILE:
                raise
            raise HubError(
                f"{repo!r} was changed while this push was made, and is left as it is: run the command again"
            ) from error
    counts = f"{len(made.unchanged)} unchanged, {len(made.removed)} removed"
    report.say(f"pushed {len(made.uploaded)} files ({counts}): {message}")
    return Pushed(repo, url, done.oid, made, new=repository.is_new)
