"""Published: versions of the demo in a folder of bundles."""

import json
import shutil
from pathlib import Path


def publish(demo: Path, root: Path, version: int, spoilt: bool = False, name: str = "demo") -> Path:
    """A copy of the demo as a version, moved into place at once as the export does it."""
    draft, folder = root / name / f".tmp-{version}", root / name / str(version)
    shutil.copytree(demo, draft)
    manifest = json.loads((draft / "manifest.json").read_text())
    (draft / "manifest.json").write_text(json.dumps({**manifest, "name": name, "version": str(version)}))
    if spoilt:
        (draft / "labels.tsv").write_text("other\n")
    return draft.rename(folder)
