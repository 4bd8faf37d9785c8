"""GPUs: which ones this process may use, and what makes one unlike another."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """One of CUDA's devices. `driver` is the newest CUDA that its driver runs, as in 13.1."""

    index: int
    name: str
    compute_capability: str
    multiprocessors: int
    driver: str


class NoGpu(Exception):
    """CUDA cannot be used here; the message says why and what would help."""


def gpus() -> list[Gpu]:
    """All that CUDA shows to this process, at least one. No context is made. Raises NoGpu."""
    try:
        from cuda.core import Device, system
    except ImportError as error:
        cure = "run `pip install '.[gpu]'` in an environment of its own"
        raise NoGpu(f"CUDA's Python packages are not installed: {cure}") from error
    try:
        devices = Device.get_all_devices()
        driver = ".".join(map(str, system.get_user_mode_driver_version()))
    except Exception as error:  # the loader of libraries and each library have errors of their own
        raise NoGpu(
            f"CUDA's driver cannot be used ({str(error).splitlines()[0]}): install NVIDIA's driver, and give "
            "containers the GPU with `--gpus all`"
        ) from error
    if not devices:
        raise NoGpu("CUDA shows no GPU to this process: see CUDA_VISIBLE_DEVICES, and `--gpus all` for containers")
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
