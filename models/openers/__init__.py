"""Openers: read the contents of checkpoint files of all kinds, without running any code from them."""

from pathlib import Path

from models.errors import CheckpointError
from models.openers import caffemodel, paddle, safe, torchfile

_UNSUPPORTED = {
    ".onnx": "an ONNX graph, which is exported already: give the checkpoint it was made from",
    ".tflite": "a TensorFlow Lite model: give the PyTorch checkpoint, e.g. timm's port of the same weights",
    ".h5": "a Keras file: give a PyTorch checkpoint of the same network",
    ".npz": "a NumPy archive: save its arrays as .safetensors",
    ".engine": "a built engine: give the checkpoint it was made from",
    ".plan": "a built engine: give the checkpoint it was made from",
}


def content(path: Path, skip_objects: bool = False) -> object:
    """The contents of the file: mappings, lists, numbers and tensors.

    `skip_objects` leaves out objects that are not plain data. Raises CheckpointError where the file is missing, damaged
    or of another kind, or holds such objects and may not skip them.
    """
    if not path.is_file():
        raise CheckpointError(f"There is no file '{path}': give the path of a checkpoint.")
    suffix = path.suffix.lower()
    if suffix in _UNSUPPORTED:
        raise CheckpointError(f"'{path.name}' is {_UNSUPPORTED[suffix]}.")
    if suffix == ".safetensors":
        return safe.content(path)
    if suffix == ".caffemodel":
        return caffemodel.content(path)
    if suffix == ".pdparams":
        return paddle.content(path)
    return torchfile.content(path, skip_objects)
