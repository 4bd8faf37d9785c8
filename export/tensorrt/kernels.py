"""SE's kernels, in Triton: gate a map, scale a map, and scale, add and rectify it in one pass.

Arguments are in the order in which TensorRT passes them to a plugin's kernel: pointers of inputs, integers, pointer of
the output. Everything but the number of images is fixed in a plan and a constant of the kernel. A map is NCHW or, with
`CHANNELS_LAST`, NHWC, which equals TensorRT's HWC8 where C % 8 == 0. Sums are float32 in every precision. NaN stays NaN
through the ReLUs, so that a broken network is noticed.
"""

import triton
import triton.language as tl

_ALL = tl.constexpr(tl.PropagateNan.ALL)


@triton.jit
def se_gate(
    x, w1, b1, w2, b2, gate,
    CHANNELS: tl.constexpr, SQUEEZED: tl.constexpr, PIXELS: tl.constexpr, CHANNELS_LAST: tl.constexpr,
    ALL_CHANNELS: tl.constexpr, SOME_SQUEEZED: tl.constexpr, SOME_PIXELS: tl.constexpr,
):  # fmt: skip
    """gate = σ(w2·relu(w1·mean(x) + b1) + b2); one program computes one image.

    x (N, CHANNELS, H, W) with H·W = PIXELS, w1 (SQUEEZED, CHANNELS), b1 (SQUEEZED,), w2 (CHANNELS, SQUEEZED), b2 and
    each row of gate (CHANNELS,). ALL_CHANNELS, SOME_SQUEEZED and SOME_PIXELS are the sizes of tiles: powers of two, the
    first no less than CHANNELS.

    One program per image leaves most of a GPU idle where maps are large, as in a network's first stages. There the
    runtime's own pool computes the mean and x is its result, with PIXELS = 1.
    """
    image = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, ALL_CHANNELS)
    known = channel < CHANNELS
    x += image * (CHANNELS * PIXELS)
    mean = _mean(x, channel, CHANNELS, PIXELS, CHANNELS_LAST, ALL_CHANNELS, SOME_PIXELS)
    excited = tl.load(b2 + channel, mask=known, other=0.0).to(tl.float32)
    for first in range(0, SQUEEZED, SOME_SQUEEZED):
        row = first + tl.arange(0, SOME_SQUEEZED)
        inside = (row < SQUEEZED)[:, None] & known[None, :]
        weight = tl.load(w1 + row[:, None] * CHANNELS + channel[None, :], mask=inside, other=0.0).to(tl.float32)
        bias = tl.load(b1 + row, mask=row < SQUEEZED, other=0.0).to(tl.float32)
        squeezed = tl.maximum(tl.sum(weight * mean[None, :], 1) + bias, 0.0, propagate_nan=_ALL)
        column = channel[:, None] * SQUEEZED + row[None, :]
        inside = known[:, None] & (row < SQUEEZED)[None, :]
        weight = tl.load(w2 + column, mask=inside, other=0.0).to(tl.float32)
        excited += tl.sum(weight * squeezed[None, :], 1)
    # for a very negative sum exp overflows to infinity, and the gate is 0, which is correct
    answer = 1.0 / (1.0 + tl.exp(-excited))
    tl.store(gate + image * CHANNELS + channel, answer.to(gate.dtype.element_ty), mask=known)


@triton.jit
def _mean(
    x, channel,
    CHANNELS: tl.constexpr, PIXELS: tl.constexpr, CHANNELS_LAST: tl.constexpr,
    ALL_CHANNELS: tl.constexpr, SOME_PIXELS: tl.constexpr,
):  # fmt: skip
    """(ALL_CHANNELS,) float32 of the image at x; 0 beyond CHANNELS."""
    known = channel < CHANNELS
    if CHANNELS_LAST:
        total = tl.zeros((SOME_PIXELS, ALL_CHANNELS), tl.float32)
        for first in range(0, PIXELS, SOME_PIXELS):
            pixel = first + tl.arange(0, SOME_PIXELS)
            inside = (pixel < PIXELS)[:, None] & known[None, :]
            total += tl.load(x + pixel[:, None] * CHANNELS + channel[None, :], mask=inside, other=0.0).to(tl.float32)
        mean = tl.sum(total, 0) / PIXELS
    else:
        total = tl.zeros((ALL_CHANNELS, SOME_PIXELS), tl.float32)
        for first in range(0, PIXELS, SOME_PIXELS):
            pixel = first + tl.arange(0, SOME_PIXELS)
            inside = known[:, None] & (pixel < PIXELS)[None, :]
            total += tl.load(x + channel[:, None] * PIXELS + pixel[None, :], mask=inside, other=0.0).to(tl.float32)
        mean = tl.sum(total, 1) / PIXELS
    return mean


@triton.jit(do_not_specialize=["images"])
def se_scale(
    x, gate, images, y,
    CHANNELS: tl.constexpr, PIXELS: tl.constexpr, CHANNELS_LAST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """y = gate·x; one program computes BLOCK elements of flat memory.

    x, y (images, CHANNELS, H, W), gate (images, CHANNELS).
    """
    at, inside, row = _elements(images, CHANNELS, PIXELS, CHANNELS_LAST, BLOCK)
    scaled = tl.load(x + at, mask=inside).to(tl.float32) * tl.load(gate + row, mask=inside).to(tl.float32)
    tl.store(y + at, scaled.to(y.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["images"])
def se_scale_add_relu(
    x, gate, residual, images, y,
    CHANNELS: tl.constexpr, PIXELS: tl.constexpr, CHANNELS_LAST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """y = relu(gate·x + residual), otherwise as `se_scale`. x and residual are read once, y is written once."""
    at, inside, row = _elements(images, CHANNELS, PIXELS, CHANNELS_LAST, BLOCK)
    scaled = tl.load(x + at, mask=inside).to(tl.float32) * tl.load(gate + row, mask=inside).to(tl.float32)
    total = scaled + tl.load(residual + at, mask=inside).to(tl.float32)
    tl.store(y + at, tl.maximum(total, 0.0, propagate_nan=_ALL).to(y.dtype.element_ty), mask=inside)


@triton.jit
def _elements(
    images, CHANNELS: tl.constexpr, PIXELS: tl.constexpr, CHANNELS_LAST: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """The offsets of this program's elements, which of them exist, and the offset of each one's gate.

    Only the start of a block needs 64 bits and a real division. Within a block, images and channels are counted from
    the image in which it starts, so that 32 bits and divisions by constants are enough.
    """
    start = tl.program_id(0).to(tl.int64) * BLOCK
    image = start // (CHANNELS * PIXELS)
    lane = tl.arange(0, BLOCK)
    within = (start - image * (CHANNELS * PIXELS)).to(tl.int32) + lane
    if CHANNELS_LAST:
        row = within // (CHANNELS * PIXELS) * CHANNELS + within % CHANNELS
    else:
        row = within // PIXELS
    at = start + lane
    return at, at < images.to(tl.int64) * (CHANNELS * PIXELS), image * CHANNELS + row
