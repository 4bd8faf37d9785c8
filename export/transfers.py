"""Transfers: `python -m export push` and `pull`: bundles between folders and stores. Must not import torch."""

import argparse
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from bundle import files
from bundle.errors import BundleError
from bundle.names import is_name
from export import triton_files
from export.progress import Progress
from remote.listing import Version, listing
from remote.pull import pull
from remote.push import push
from remote.stores.opening import open_store, open_writable

PUSH, PULL = "push", "pull"
NAMES = (PUSH, PULL)
HELP = {
    PUSH: "copy bundles of this machine to a model repository in a store (S3, GCS, Azure, a folder)",
    PULL: "copy bundles of a store to a model repository of this machine, verified",
}
INTERRUPTED = 130

_KIB = 1 << 10


def run(arguments: Sequence[str]) -> int:
    """Run the command and return the exit code. Raises BundleError."""
    name, *rest = arguments
    parser = argparse.ArgumentParser(prog=f"python -m export {name}", description=HELP[name])
    add_options(name, parser)
    return transfer(parser.parse_args(rest))


def add_options(name: str, parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(transfer=_push if name == PUSH else _pull)
    if name == PUSH:
        parser.add_argument(
            "bundle", help="a model's name, or the folder of a version, of a model or of a model repository"
        )
        parser.add_argument("url", help="the model repository to copy it to, such as s3://bucket/models")
        parser.add_argument(
            "--model-repository",
            type=Path,
            default=Path("model_repository"),
            help="the folder that a model's name is looked up in (default: %(default)s)",
        )
    else:
        parser.add_argument("url", help="a version, a model or a model repository, such as s3://bucket/models/flowers")
        parser.add_argument("folder", type=Path, help="the model repository to copy it to, such as model_repository")
    parser.add_argument("--overwrite", action="store_true", help="replace versions that hold another bundle there")


def transfer(arguments: argparse.Namespace) -> int:
    """Exit codes: 0 all is there, 130 interrupted. Raises BundleError."""
    try:
        _in_thread(partial(arguments.transfer, arguments))
    except KeyboardInterrupt:
        print("export: interrupted; no version is there in part. The same command goes on.", file=sys.stderr)
        return INTERRUPTED
    return 0


def _in_thread(does: Callable[[], None]) -> None:
    """Run it in a thread that the process does not wait for: Ctrl-C counts while a store is slow to answer."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            does()
        except BaseException as error:  # it is raised again in the main thread
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def _push(arguments: argparse.Namespace) -> None:
    store = open_writable(arguments.url)
    folders = _folders(arguments.bundle, arguments.model_repository)
    progress = Progress(len(folders))
    for folder in folders:
        progress.step(f"push {folder.parent.name}/{folder.name} ({_size(_bytes(folder))})")
        _say(f"{folder.parent.name}/{folder.name}", push(folder, store, _bar(progress), arguments.overwrite))


def _pull(arguments: argparse.Namespace) -> None:
    store = open_store(arguments.url)
    versions = listing(store).versions
    progress = Progress(len(versions))
    for version in versions:
        progress.step(f"pull {version.name}/{version.version}")
        came = pull(store, version, arguments.folder, _bar(progress), arguments.overwrite)
        _say(str(arguments.folder / version.name / version.version), came)
    for warning in _describe(arguments.folder, versions):
        print(warning, file=sys.stderr)


def _describe(folder: Path, versions: Iterable[Version]) -> Iterable[str]:
    """Write what NVIDIA's Triton reads beside the versions, as a conversion does."""
    for name in dict.fromkeys(version.name for version in versions):
        yield from triton_files.write(folder / name)


def _folders(bundle: str, model_repository: Path) -> list[Path]:
    """The folders of the versions that are meant. Raises BundleError where there is none."""
    named = model_repository / bundle
    path = named if is_name(bundle) and named.is_dir() else Path(bundle)
    if (path / "manifest.json").is_file():
        return [path.resolve()]
    if path.is_dir():
        if found := [path.resolve() / str(version) for version in files.versions(path)]:
            return found
        if found := [folder.resolve() for _, _, folder in files.find(path)]:
            return found
    raise BundleError(
        f"'{bundle}' is no bundle: give a model of '{model_repository}' by its name, or the folder of a version, of a "
        "model or of a model repository."
    )


def _bar(progress: Progress) -> Callable[[int, int], None]:
    def advance(done: int, total: int) -> None:
        progress.advance(done // _KIB, max(done, total) // _KIB + 1)

    return advance


def _say(what: str, came: bool) -> None:
    print(what if came else f"{what} is there already", flush=True)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
