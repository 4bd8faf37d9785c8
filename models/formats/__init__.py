"""The checkpoint formats, one file each."""

from models.errors import CheckpointError
from models.formats.caffe import CAFFE, CAFFE_SENET
from models.formats.canonical import CAFFE_INCEPTION, CANONICAL
from models.formats.format import Format
from models.formats.legacy import LEGACY, LEGACY_SENET
from models.formats.mmpretrain import MMPRETRAIN
from models.formats.moskomule import MOSKOMULE, MOSKOMULE_CIFAR
from models.formats.nvidia import NVIDIA
from models.formats.paddle import PADDLE, PADDLE_VD
from models.formats.pytorchcv import PYTORCHCV, PYTORCHCV_CIFAR, PYTORCHCV_SENET
from models.formats.timm import TIMM
from models.formats.torchvision import TORCHVISION
from models.tensors import Tensors

RESIDUAL = (
    TIMM,
    LEGACY_SENET,
    LEGACY,
    MMPRETRAIN,
    MOSKOMULE,
    MOSKOMULE_CIFAR,
    PYTORCHCV,
    PYTORCHCV_SENET,
    PYTORCHCV_CIFAR,
    PADDLE,
    PADDLE_VD,
    NVIDIA,
    CAFFE,
    CAFFE_SENET,
    TORCHVISION,
)
"""The formats of SE-ResNets, in the order in which they are tried: the stricter ones first."""

FORMATS = (*RESIDUAL, CAFFE_INCEPTION, *CANONICAL)


def named(name: str) -> Format:
    """The format of that name. Raises CheckpointError where there is none."""
    for known in FORMATS:
        if known.name == name:
            return known
    raise CheckpointError(f"There is no format '{name}': choose one of {', '.join(f.name for f in FORMATS)}.")


def detect(tensors: Tensors) -> Format | None:
    """The first format that recognises the tensors."""
    return next((known for known in FORMATS if known.recognises(tensors)), None)
