"""Openers: the contents of a checkpoint file of any kind, without running any code from it."""

from pathlib import Path

from models.errors import CheckpointError
from models.openers import caffemodel, paddle, safe, torchfile

_STRANGERS = {
    ".onnx": "an ONNX graph, which is exported already: give the checkpoint it was made from",
    ".tflite": "a TensorFlow Lite model: give the PyTorch checkpoint, e.g. timm's port of the same weights",
    ".h5": "a Keras file: give a PyTorch checkpoint of the same network",
    ".npz": "a NumPy archive: save its arrays as .safetensors",
    ".engine": "a built engine: give the checkpoint it was made from",
    ".plan": "a built engine: give the checkpoint it was made from",
}


def content(path: Path, skip_objects: bool = False) -> object:
    """What the file holds: mappings, lists, numbers and tensors.

    `skip_objects` leaves out what would need a foreign class, instead of refusing the file. Raises CheckpointError.
    """
    if not path.is_file():
        raise CheckpointError(f"There is no file '{path}': give the path of a checkpoint.")
    suffix = path.suffix.lower()
    if suffix in _STRANGERS:
        raise CheckpointError(f"'{path.name}' is {_STRANGERS[suffix]}.")
    if suffix == ".safetensors":
        return safe.content(path)
    if suffix == ".caffemodel":
        return caffemodel.content(path)
    if suffix == ".pdparams":
        return paddle.content(path)
    return torchfile.content(path, skip_objects)
