"""SE's kernels on a GPU: launched by Triton, and as PTX by the driver with TensorRT's arguments."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from export.tensorrt import tactics
from export.tensorrt.ptx import compile_kernel
from export.tensorrt.tactics import KernelVariant
from tests.export.tensorrt import cases
from tests.export.tensorrt.cases import Case
from tests.support import se_kernels

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, and PyTorch for CUDA"),
]

_SMALL = [(1, 8, 3, 1, 1), (3, 24, 5, 7, 7), (1, 200, 13, 5, 3), (3, 8, 13, 14, 14), (1, 7, 2, 5, 3)]
_STAGES = [
    (8, 256, 16, 56, 56),
    (8, 512, 32, 28, 28),
    (8, 1024, 64, 14, 14),
    (32, 2048, 128, 7, 7),
    (32, 2048, 128, 1, 1),
]
SHAPES = _SMALL + _STAGES
"""Images, channels, squeezed, height, width: odd ones, and those of SE-ResNet-50."""


@pytest.fixture(params=[*product(cases.PRECISIONS, cases.FORMATS)], ids="-".join)
def kind(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Each precision with each layout."""
    precision, layout = request.param
    return precision, layout


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_kernels_agree_with_torch(shape: tuple[int, int, int, int, int], kind: tuple[str, str]) -> None:
    tolerance = cases.TOLERANCE[kind[0]]
    for name, tactic, error, fault in cases.errors(cases.case(*shape, *kind, device="cuda")):
        assert error <= tolerance, (name, tactic)
        assert fault > tolerance or shape[3] == 1, (name, tactic)


@pytest.mark.parametrize("tactic", [1, 2])
def test_a_driver_given_tensorrts_arguments_alone_launches_the_ptx(kind: tuple[str, str], tactic: int) -> None:
    """Launch with only the pointers of inputs, the number of images where needed, and the pointer of the output."""
    precision, layout = kind
    tolerance, last = cases.TOLERANCE[precision], layout == "HWC8"
    for images, channels, squeezed, height, width in SHAPES:
        given = cases.case(images, channels, squeezed, height, width, precision, layout, device="cuda")
        pixels = height * width
        blocks = {
            "gate": (tactics.gate(channels, squeezed, pixels, last, tactic), [given.x, *given.weights], []),
            "scale": (tactics.scale(channels, pixels, last, tactic), [given.x, given.gates], [images]),
            "scale_add_relu": (
                tactics.scale_add_relu(channels, pixels, last, tactic),
                [given.x, given.gates, given.residual],
                [images],
            ),
        }
        for name, (variant, inputs, numbers) in blocks.items():
            made = torch.full_like(given.gates if name == "gate" else given.x, 7)
            programs = -(-given.x.numel() // variant.elements)
            _launched(variant, precision, inputs, numbers, made, programs)
            assert cases.error(getattr(given, name)(), made) <= tolerance, (name, channels)


def _launched(
    variant: KernelVariant,
    precision: str,
    inputs: list[torch.Tensor],
    numbers: list[int],
    made: torch.Tensor,
    programs: int,
) -> None:
    core: Any = pytest.importorskip("cuda.core")
    arguments = [*[f"*{precision}"] * len(inputs), *["i32"] * len(numbers), f"*{precision}"]
    capability = torch.cuda.get_device_capability()
    compiled = compile_kernel(variant.kernel, arguments, variant.constants, capability, variant.warps)
    device = core.Device(torch.cuda.current_device())
    device.set_current()
    kernel = core.ObjectCode.from_ptx(compiled.ptx.encode()).get_kernel(compiled.name)
    assert kernel.num_arguments == len(arguments)
    torch.cuda.synchronize()
    stream = device.create_stream()
    config = core.LaunchConfig(grid=programs, block=compiled.threads, shmem_size=compiled.shared_bytes)
    passed = [*(x.data_ptr() for x in inputs), *map(np.int32, numbers), made.data_ptr()]
    core.launch(stream, config, kernel, *passed)
    stream.sync()


def test_ptx_for_compute_capability_8_0_runs_here_too() -> None:
    core: Any = pytest.importorskip("cuda.core")
    variant = tactics.scale(64, 49, True, 1)
    compiled = compile_kernel(variant.kernel, ["*fp16", "*fp16", "i32", "*fp16"], variant.constants, (8, 0), 4)
    core.Device(torch.cuda.current_device()).set_current()
    assert core.ObjectCode.from_ptx(compiled.ptx.encode()).get_kernel(compiled.name).num_arguments == 4


def test_a_cuda_graph_may_hold_them() -> None:
    given = cases.case(4, 256, 16, 14, 14, "fp16", "HWC8", device="cuda")

    def block(case: Case) -> torch.Tensor:
        return se_kernels.scale_add_relu(case.x, se_kernels.gate(case.x, *case.weights), case.residual)

    expected = block(given)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = block(given)
    found.zero_()
    graph.replay()
    assert torch.equal(found, expected)
    given.x.add_(1)
    graph.replay()
    assert not torch.equal(found, expected)
    assert torch.equal(found, block(given))


@pytest.mark.parametrize("layout", cases.FORMATS)
def test_maps_of_more_than_2_to_the_31_elements_are_scaled_to_their_end(layout: str) -> None:
    images, channels, side = 2700, 256, 56
    if torch.cuda.mem_get_info()[0] < 5 * 2 * images * channels * side * side:
        pytest.skip("needs 22 GB of a GPU's memory")
    assert images * channels * side * side > 2**31
    x = torch.ones(images, channels, side, side, dtype=torch.float16, device="cuda")
    x = x.to(memory_format=cases.FORMATS[layout])
    gates = torch.arange(images, device="cuda").remainder(512).div(512).half()[:, None, None, None]
    gates = gates.expand(images, channels, 1, 1).contiguous()
    scaled = se_kernels.scale(x, gates)
    for image in (0, 1, images // 2, images - 2, images - 1):
        assert torch.equal(scaled[image], x[image] * gates[image])
