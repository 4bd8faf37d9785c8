"""A fake `cuda.bindings.nvml`: two GPUs, of which the second has no power figure and may be lost."""

from types import SimpleNamespace


class NvmlError(Exception):
    pass


class FakeNvml:
    """Handles are 100 and 101. `lost`: every question about the second GPU fails."""

    NvmlError = NvmlError

    def __init__(self) -> None:
        self.initialised = self.lost = False

    def init_v2(self) -> None:
        self.initialised = True

    def device_get_count_v2(self) -> int:
        return 2

    def device_get_handle_by_index_v2(self, index: int) -> int:
        assert self.initialised
        return 100 + index

    def device_get_uuid(self, gpu: int) -> str:
        return f"GPU-{gpu}"

    def device_get_utilization_rates(self, gpu: int) -> SimpleNamespace:
        self._reach(gpu)
        return SimpleNamespace(gpu=75, memory=30)

    def device_get_memory_info_v2(self, gpu: int) -> SimpleNamespace:
        self._reach(gpu)
        return SimpleNamespace(total=80 << 30, used=8 << 30, free=72 << 30)

    def device_get_temperature_v(self, gpu: int, sensor: int) -> int:
        self._reach(gpu)
        assert sensor == 0
        return 40 + gpu - 100

    def device_get_power_usage(self, gpu: int) -> int:
        self._reach(gpu)
        if gpu == 101:
            raise NvmlError("not supported")
        return 350_500

    def _reach(self, gpu: int) -> None:
        if self.lost and gpu == 101:
            raise NvmlError("lost")
