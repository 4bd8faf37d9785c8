"""Verify: runs every check of a bundle that needs only its folder, and lists the results."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from bundle import files, labels, overflow, parity
from bundle.errors import BundleError
from bundle.graph import INPUT, OUTPUT
from bundle.manifest import Graph, Manifest
from bundle.parity import AGREEMENT, MAX_DLOGP, MAX_DP
from bundle.probe import Probe
from export import triton_files
from export.errors import ExportError
from export.graphs import inner_tensors, int8, to_16bit
from export.progress import Progress
from export.proving import reference_runs


@dataclass(frozen=True)
class Check:
    """One check. `found` is what was found, or what is wrong."""

    what: str
    passed: bool
    found: str


@dataclass(frozen=True)
class Verification:
    """The results of all checks of one bundle."""

    bundle: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    def table(self) -> str:
        lines = [f"{'ok' if check.passed else 'FAILED':<7}{check.what:<28} {check.found}" for check in self.checks]
        failed = sum(not check.passed for check in self.checks)
        outcome = f"{failed} of {len(lines)} checks failed." if failed else f"All {len(lines)} checks passed."
        return "\n".join([*lines, "", f"{self.bundle}: {outcome}"])

    def to_json(self) -> str:
        checks = [dataclasses.asdict(check) for check in self.checks]
        return json.dumps({"bundle": self.bundle, "passed": self.passed, "checks": checks}, indent=2)


def verify(path: Path, progress: Progress) -> Verification:
    """Check a bundle such as `model_repository/demo/1`; of `model_repository/demo`, its highest version.

    A check that fails does not stop the others. Raises BundleError where there is no bundle.
    """
    folder = files.newest(path)
    checks = []
    for what, check in _checks(folder):
        progress.step(what)
        checks.append(_run(what, check))
    return Verification(str(folder), tuple(checks))


def _checks(folder: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    """The name and the function of each check. The function returns what it found, or raises an error that says what is
    wrong.
    """
    yield "manifest.json", lambda: _manifest(folder).created
    try:
        manifest = _manifest(folder)
    except Exception:  # the check before has reported it
        return
    named = {graph.file: graph.sha256 for graph in manifest.graphs}
    for file, sha256 in {**named, "labels.tsv": manifest.labels.sha256, "probe.npz": manifest.probe_sha256}.items():
        yield f"sha256 of {file}", lambda file=file, sha256=sha256: _hash(folder / file, sha256)  # type: ignore[misc]
    yield "labels", lambda: _labels(folder, manifest)
    yield "probe", lambda: _probe(folder, manifest)
    yield "inner tensors", lambda: _inner_tensors(folder, manifest)
    for graph in manifest.graphs:
        yield f"graph {graph.file}", lambda graph=graph: _graph(folder / graph.file, manifest)  # type: ignore[misc]
        if graph.precision == "int8":
            yield f"weights of {graph.file}", lambda graph=graph: _weights(folder / graph.file, graph)  # type: ignore[misc]
        yield f"parity of {graph.file}", lambda graph=graph: _parity(folder, graph, manifest)  # type: ignore[misc]
    if triton_files.is_described(folder):
        yield f"{triton_files.CONFIG} for Triton", lambda: triton_files.check_config(folder)
        yield f"{triton_files.LABELS} for Triton", lambda: triton_files.check_labels(folder)


def _run(what: str, check: Callable[[], str]) -> Check:
    try:
        return Check(what, True, check())
    except (BundleError, ExportError) as error:
        return Check(what, False, str(error))
    except Exception as error:  # ONNX and ONNX Runtime raise many kinds of errors for a damaged graph
        return Check(what, False, f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}")


def _manifest(folder: Path) -> Manifest:
    try:
        manifest = Manifest.from_json((folder / "manifest.json").read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise BundleError(f"manifest.json cannot be read ({error.strerror}).") from error
    if not any(graph.precision == "fp32" for graph in manifest.graphs):
        raise BundleError("The manifest names no fp32 graph: export the bundle again.")
    if outside := [graph.file for graph in manifest.graphs if Path(graph.file).name != graph.file]:
        raise BundleError(f"The manifest names '{outside[0]}', which is no file of the bundle: export it again.")
    return manifest


def _hash(path: Path, sha256: str) -> str:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path.name} cannot be read ({error.strerror}): copy or export the bundle again.") from error
    if found != sha256:
        raise BundleError(f"The hash is {found}, but the manifest says {sha256}: copy or export the bundle again.")
    return found


def _labels(folder: Path, manifest: Manifest) -> str:
    table = labels.from_tsv((folder / "labels.tsv").read_text(encoding="utf-8"))
    if len(table) != manifest.labels.classes:
        raise BundleError(
            f"There are {len(table)} labels, but the manifest says {manifest.labels.classes}: export the bundle again."
        )
    return f"{len(table)} classes, {manifest.labels.set}"


def _probe(folder: Path, manifest: Manifest) -> str:
    probe = Probe.from_bytes((folder / "probe.npz").read_bytes())
    probe.check_shapes(manifest.preprocessing.height, manifest.preprocessing.width, manifest.labels.classes)
    return f"{len(probe.pixels)} images"


def _inner_tensors(folder: Path, manifest: Manifest) -> str:
    """Compare the tensors that explanations read with those that the fp32 graph has."""
    blocks = manifest.architecture.se_blocks
    if not manifest.head and not any(block.gate for block in blocks):
        return "none are named: the bundle cannot be explained; export it again for that"
    model = next((folder / graph.file).read_bytes() for graph in manifest.graphs if graph.precision == "fp32")
    found = inner_tensors.head(model), tuple(inner_tensors.gates(model, [block.name for block in blocks]))
    if found != (manifest.head, tuple(block.gate for block in blocks)):
        raise BundleError("The manifest names other gates or another head than the graph has: export the bundle again.")
    return f"{sum(block.gate is not None for block in blocks)} gates, {'a' if manifest.head else 'no'} linear head"


def _graph(path: Path, manifest: Manifest) -> str:
    """Compare the graph's inputs, outputs, operators and SE blocks with the manifest."""
    try:
        model = onnx.load(path)
    except DecodeError as error:
        raise BundleError("This is not an ONNX file: copy or export the bundle again.") from error
    onnx.checker.check_model(model, full_check=True)
    size, kinds = manifest.preprocessing, onnx.TensorProto
    expected = [
        (INPUT, kinds.UINT8, ["batch", size.height, size.width, 3]),
        (OUTPUT, kinds.FLOAT, ["batch", manifest.labels.classes]),
    ]
    found = [_signature(value) for value in (*model.graph.input, *model.graph.output)]
    if found != expected:
        raise BundleError(
            f"The graph's inputs and outputs are {found}, but the manifest says {expected}: export the bundle again."
        )
    foreign = sorted({node.domain for node in model.graph.node if node.domain not in ("", "ai.onnx")})
    if foreign or model.functions:
        raise BundleError(
            f"The graph has operators of {', '.join(foreign) or 'its own'}, which engines may not know: export the "
            "bundle again."
        )
    names = [node.name for node in model.graph.node]
    blocks = [block.name for block in manifest.architecture.se_blocks]
    lost = [block for block in blocks if not any(name.startswith(f"{block}/se/") for name in names)]
    if lost:
        raise BundleError(
            f"The graph has no nodes of the SE block {lost[0]}, which the manifest names: export the bundle again."
        )
    return f"{len(names)} nodes, {len(blocks)} SE blocks"


def _signature(value: onnx.ValueInfoProto) -> tuple[str, int, list[int | str]]:
    kind = value.type.tensor_type
    return value.name, kind.elem_type, [dim.dim_param or dim.dim_value for dim in kind.shape.dim]


def _weights(path: Path, graph: Graph) -> str:
    """Check that every CPU computes an INT8 graph exactly.

    A graph of an older export may need VNNI; that is no fault, as the server takes it only where it is exact.
    """
    found = int8.largest_weight(path.read_bytes())
    if graph.largest_weight not in (None, found):
        raise BundleError(
            f"The weights reach {found}, but the manifest says {graph.largest_weight}: export the bundle again."
        )
    if overflow.is_safe(graph):
        return f"up to {found}: exact on every CPU"
    return f"up to {found}: exact only on x86 with VNNI and on ARM; export the bundle again to serve it on every CPU"


def _parity(folder: Path, graph: Graph, manifest: Manifest) -> str:
    """Compare the graph's answers to the probe on this CPU with the torch network's."""
    probe = Probe.from_bytes((folder / "probe.npz").read_bytes())
    model = (folder / graph.file).read_bytes()
    proven = {row.engine for row in manifest.parity if row.file == graph.file and row.precision == graph.precision}
    if not proven:
        raise BundleError("The manifest has no parity row of this graph: export the bundle again.")
    if "onnxruntime-cpu" in proven:
        model = to_16bit.emulate(model) if graph.precision in to_16bit.OPSET else model
        answers = reference_runs.onnx_probabilities(model, probe.pixels, lambda done, total: None)
    elif reference_runs.openvino_supports(graph.precision):
        answers = reference_runs.openvino_probabilities(model, probe.pixels, graph.precision)
    else:
        return "not run: its parity was measured in OpenVINO, which is not installed here or does not support it"
    if answers.shape != probe.probabilities.shape:
        raise BundleError(
            f"The graph gives {answers.shape[1]} classes, but the probe has {probe.probabilities.shape[1]}: export the "
            "bundle again."
        )
    found = parity.compare(probe.probabilities, answers)
    measured = f"max |Δp| {found.max_dp:.1e}, max |Δ log p| {found.max_dlogp:.1e} over {found.images} images"
    limits = f"allowed are {MAX_DP:g} and {MAX_DLOGP:g}"
    if graph.precision != "fp32":
        measured = f"same best class for {found.sure_agreement:.1%} of {found.sure_images} sure images"
        limits = f"at least {AGREEMENT[graph.precision]:.0%} is required"
    if not found.passes(graph.precision):
        raise BundleError(f"{measured}: {limits}. Export the bundle again.")
    return measured
