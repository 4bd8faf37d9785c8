"""GPUs: lists the GPUs that this process may use."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """One CUDA device. `driver` is the newest CUDA version that the driver supports, for example "13.1"."""

    index: int
    name: str
    compute_capability: str
    multiprocessors: int
    driver: str


class NoGpu(Exception):
    """CUDA cannot be used here. The message says why, and the cure."""


def gpus() -> list[Gpu]:
    """The GPUs that are visible to this process, at least one. Creates no CUDA context. Raises NoGpu."""
    try:
        from cuda.core import Device, system
    except ImportError as error:
        cure = "run `pip install '.[gpu]'` in an environment of its own"
        raise NoGpu(f"CUDA's Python packages are not installed: {cure}") from error
    try:
        devices = Device.get_all_devices()
        driver = ".".join(map(str, system.get_user_mode_driver_version()))
    except Exception as error:  # the loader and each library have their own errors
        raise NoGpu(
            f"CUDA's driver cannot be used ({str(error).splitlines()[0]}): install NVIDIA's driver, and give "
            "containers the GPU with `--gpus all`"
        ) from error
    if not devices:
        raise NoGpu("CUDA shows no GPU to this process: check CUDA_VISIBLE_DEVICES; start containers with `--gpus all`")
    return [
        Gpu(
            index=device.device_id,
            name=device.name,
            compute_capability="{}.{}".format(*device.compute_capability),
            multiprocessors=device.properties.multiprocessor_count,
            driver=driver,
        )
        for device in devices
    ]
