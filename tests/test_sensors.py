"""What `edgebird bench` reads of a machine, from fake trees of the kernel's files and a strict fake of NVML.

A sensor that is not there must be said to be missing: a zero would be a record in every comparison of energy.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from edgebird.benchmarks.machine import describe, observe
from edgebird.benchmarks.sensors import Sensors, jetson, nvml, open_sensors, rapl, system
from edgebird.benchmarks.sensors.files import NoSensorError

HWMON = "sys/class/hwmon"
RAPL = "sys/class/powercap"


def tree(root: Path, files: Mapping[str, object]) -> Path:
    """Files below `root` with a value each."""
    for name, value in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return root


def replaced(path: Path, value: object) -> None:
    """Change a file that is read at the same time: whoever reads it finds the old value or the new one."""
    new = path.with_suffix(".new")
    new.write_text(f"{value}\n")
    new.replace(path)


def chip(number: int, name: str, *channels: tuple[str, int, int]) -> dict[str, object]:
    """The hwmon files of a power monitor: label, mV and mA of each channel."""
    folder = f"{HWMON}/hwmon{number}"
    files: dict[str, object] = {f"{folder}/name": name}
    for index, (label, millivolts, milliamperes) in enumerate(channels, 1):
        files |= {f"{folder}/in{index}_input": millivolts, f"{folder}/curr{index}_input": milliamperes}
        if label:
            files[f"{folder}/in{index}_label"] = label
    if name == "ina3221":  # shunt voltages in uV, and the sum of the currents: no rails, though one has both files
        files |= {f"{folder}/in{index}_input": 400 for index in (4, 5, 6)}
        files |= {f"{folder}/in7_input": 12, f"{folder}/in7_label": "sum of shunt voltages"}
        files[f"{folder}/curr4_input"] = sum(milliamperes for _, _, milliamperes in channels)
    return files


# --------------------------------------------------------------------------------------------------------------- Jetson
ORIN_NANO = chip(1, "ina3221", ("VDD_IN", 5000, 1000), ("VDD_CPU_GPU_CV", 5000, 400), ("VDD_SOC", 5000, 300))
AGX_ORIN = {
    **chip(3, "ina3221", ("VDD_GPU_SOC", 20000, 200), ("VDD_CPU_CV", 20000, 100), ("VIN_SYS_5V0", 5000, 1000)),
    **chip(4, "ina3221", ("NC", 5000, 0), ("VDDQ_VDD2_1V8AO", 5000, 200), ("NC", 5000, 0)),
}
THOR = {**chip(1, "ina238", ("", 20000, 1500)), **chip(2, "ina3221", ("VDD_CPU_SOC_MSS", 12000, 500))}


@pytest.mark.parametrize(
    ("files", "name", "watts"),
    [
        (ORIN_NANO, "VDD_IN", 5.0),
        (AGX_ORIN, "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0 + VDDQ_VDD2_1V8AO", 12.0),
        (THOR, "VIN", 30.0),
    ],
    ids=["Orin Nano", "AGX Orin", "Thor"],
)
def test_the_power_of_a_jetson_is_that_of_the_rail_that_feeds_the_others(
    tmp_path: Path, files: dict[str, object], name: str, watts: float
) -> None:
    """Rails below it would be counted twice; where there is none, all are summed."""
    now = [100.0]
    meter = jetson.PowerMeter(jetson.whole_of(jetson.find_rails(tree(tmp_path, files))), lambda: now[0])
    assert meter.name == name
    assert meter.joules() == 0.0
    now[0] += 3.0
    assert meter.joules() == pytest.approx(3 * watts)


def test_power_that_changes_is_summed_over_time(tmp_path: Path) -> None:
    now = [0.0]
    meter = jetson.PowerMeter(
        jetson.find_rails(tree(tmp_path, chip(1, "ina3221", ("VDD_IN", 5000, 0)))), lambda: now[0]
    )
    tree(tmp_path, {f"{HWMON}/hwmon1/curr1_input": 2000})
    now[0] = 1.0
    assert meter.joules() == pytest.approx(5.0)  # from 0 to 10 W
    (tmp_path / HWMON / "hwmon1/curr1_input").unlink()  # it cannot be read for a moment
    now[0] = 2.0
    assert meter.joules() == pytest.approx(15.0)


def test_a_meter_reads_by_itself_and_ends(tmp_path: Path) -> None:
    """A thread that went on would read over I2C for as long as the process lives."""
    meter = jetson.open_meter(tree(tmp_path, ORIN_NANO))
    meter.close()
    assert not meter._thread.is_alive()


def test_other_chips_and_sums_of_a_chip_are_no_rails(tmp_path: Path) -> None:
    files = chip(0, "nvme", ("VDD_IN", 5000, 1000)) | {f"{HWMON}/hwmon1/name": "ina3221"}
    files |= {f"{HWMON}/hwmon1/in7_input": 12, f"{HWMON}/hwmon1/in7_label": "sum of shunt voltages"}
    assert jetson.find_rails(tree(tmp_path, files)) == []
    with pytest.raises(NoSensorError, match="no INA3221 or INA238 here"):
        jetson.open_meter(tmp_path)


# ----------------------------------------------------------------------------------------------------------------- RAPL
def zone(name: str, label: str, microjoules: int, most: int = 1_000_000) -> dict[str, object]:
    folder = f"{RAPL}/{name}"
    return {f"{folder}/name": label, f"{folder}/energy_uj": microjoules, f"{folder}/max_energy_range_uj": most}


def test_rapl_counts_packages_alone_and_beyond_the_end_of_the_counter(tmp_path: Path) -> None:
    """Cores are inside their package, and the platform holds the packages: summed, energy would be twice what it is."""
    files = zone("intel-rapl:0", "package-0", 999_000) | zone("intel-rapl:0:0", "core", 5)
    tree(tmp_path, files | zone("intel-rapl:1", "psys", 7) | zone("intel-rapl:2", "package-1", 0))
    first, second = rapl.open_meters(tmp_path)
    assert (first.name, second.name) == ("RAPL package-0", "RAPL package-1")
    tree(tmp_path, zone("intel-rapl:0", "package-0", 2_000))
    assert first.joules() == pytest.approx((1_000_001 - 999_000 + 2_000) / 1e6)
    assert first.joules() == pytest.approx((1_000_001 - 999_000 + 2_000) / 1e6)
    assert second.joules() == 0.0


def test_rapl_begins_anew_as_often_as_it_likes_while_somebody_watches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a long turn, a second round of the counter would be lost."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    sensors = open_sensors(tree(tmp_path, zone("intel-rapl:0", "package-0", 0)))
    (meter,) = sensors.meters
    assert isinstance(meter, rapl.RaplMeter)
    sensors.watch(0.001)
    for microjoules in (900_000, 800_000, 700_000):  # two rounds
        replaced(tmp_path / RAPL / "intel-rapl:0/energy_uj", microjoules)
        until = time.monotonic() + 10
        while meter._before != microjoules and time.monotonic() < until:
            time.sleep(0.001)
    sensors.close()
    assert sensors.joules()["RAPL package-0"] == pytest.approx((2 * 1_000_001 + 700_000) / 1e6)


@pytest.mark.parametrize("most", [None, "", "much"])
def test_rapl_whose_end_is_not_known_is_missing(tmp_path: Path, most: str | None) -> None:
    """An invented range makes an invented energy once the counter begins anew."""
    files = zone("intel-rapl:0", "package-0", 1)
    end = f"{RAPL}/intel-rapl:0/max_energy_range_uj"
    tree(
        tmp_path, {name: value for name, value in files.items() if name != end} | ({} if most is None else {end: most})
    )
    with pytest.raises(NoSensorError, match="cannot be read: "):
        rapl.open_meters(tmp_path)


def test_rapl_that_only_root_may_read_is_told_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, zone("intel-rapl:0", "package-0", 1))
    read_text = Path.read_text

    def refuse(path: Path, **options: Any) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, **options)

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(NoSensorError, match=r"sudo chmod a\+r /sys/class/powercap/intel-rapl:\*/energy_uj"):
        rapl.open_meters(tmp_path)


def test_no_rapl_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoSensorError, match="no RAPL packages"):
        rapl.open_meters(tmp_path)


# ----------------------------------------------------------------------------------------------------------------- NVML
class NvmlError(Exception):
    pass


def fake_nvml(
    reasons: Any = 0, energy: bool = True, driver: bool = True, kind: str = "Event", count: Any = 1
) -> ModuleType:
    """A module with what nvidia-ml-py 13.615 has of what is used here, and nothing else; kind: Throttle before 535."""
    module: Any = ModuleType("pynvml")
    opened = [False]

    def checked(result: Any) -> Any:
        def call(*arguments: Any) -> Any:
            assert opened[0], "NVML was not opened"
            if isinstance(result, Exception):
                raise result
            return result

        return call

    def init() -> None:
        if not driver:
            raise NvmlError("NVML Shared Library Not Found")
        opened[0] = True

    def shutdown() -> None:
        assert opened[0]
        opened[0] = False

    module.NVMLError, module.nvmlInit, module.nvmlShutdown = NvmlError, init, shutdown
    module.NVML_CLOCK_SM, module.NVML_CLOCK_MEM, module.NVML_TEMPERATURE_GPU = 1, 2, 0
    names = ("SwPowerCap", "HwSlowdown", "SwThermalSlowdown", "HwThermalSlowdown", "HwPowerBrakeSlowdown")
    for name, bit in zip(names, (0x4, 0x8, 0x20, 0x40, 0x80), strict=True):
        setattr(module, f"nvmlClocks{kind}Reason{name}", bit)
    setattr(module, f"nvmlDeviceGetCurrentClocks{kind}Reasons", checked(reasons))
    module.nvmlDeviceGetCount = checked(count)
    module.nvmlDeviceGetHandleByIndex = checked("handle")
    module.nvmlDeviceGetName = checked("RTX 4090" if kind == "Event" else b"RTX 4090")
    module.nvmlSystemGetDriverVersion = checked("580.95.05")
    module.nvmlDeviceGetClockInfo = checked(2520)
    module.nvmlDeviceGetTemperature = checked(NvmlError("Not Supported"))
    module.nvmlDeviceGetMemoryInfo = checked(SimpleNamespace(used=2_000_000))
    module.nvmlDeviceGetTotalEnergyConsumption = checked(12_345 if energy else NvmlError("Not Supported"))
    module.opened = opened
    return module


def test_a_gpu_tells_what_it_can_and_the_rest_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(reasons=0x1))  # idle, which is no reason
    gpu = nvml.open_gpu()
    assert (gpu.name, gpu.driver) == ("RTX 4090", "580.95.05")
    assert gpu.state() == {"sm_mhz": 2520, "memory_mhz": 2520, "memory_used_mb": 2.0, "slowed_by": []}
    assert gpu.energy().joules() == 12.345


@pytest.mark.parametrize("kind", ["Event", "Throttle"])
def test_what_slows_a_gpu_is_known_by_both_names_of_the_call(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(reasons=0x40 | 0x4 | 0x2, kind=kind))
    gpu = nvml.open_gpu()
    assert gpu.name == "RTX 4090"
    assert gpu.slowed_by() == ["SwPowerCap", "HwThermalSlowdown"]


def test_a_gpu_that_does_not_tell_what_slows_it_is_missing_that_and_not_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(reasons=NvmlError("Not Supported")))
    sensors = open_sensors(tmp_path)
    assert sensors.gpu is not None
    assert sensors.gpu.slowed_by() is None
    assert "slowed_by" not in sensors.gpu.state()
    assert sensors.missing["NVIDIA GPU throttling (NVML)"] == "RTX 4090 does not tell what slows it"
    assert sensors.joules() == {"NVML RTX 4090": 12.345}
    assert sensors.throttled == set()


def test_a_turn_is_long_where_a_meter_is_slow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A counter that moves every 0.1 s gives a turn of 0.3 s up to a third of its neighbour's energy."""
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml())
    assert open_sensors(tree(tmp_path, zone("intel-rapl:0", "package-0", 1))).turn_s == pytest.approx(2.0)
    assert Sensors().turn_s == 0.0


def test_a_gpu_that_counts_no_energy_is_told_and_watched_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pynvml: Any = fake_nvml(reasons=0x8, energy=False)
    monkeypatch.setitem(sys.modules, "pynvml", pynvml)
    sensors = open_sensors(tmp_path)
    assert sensors.missing["NVIDIA GPU (NVML)"] == "RTX 4090 counts no energy (Not Supported)"
    assert sensors.joules() == {}
    assert sensors.throttled == {"HwSlowdown"}
    assert describe(sensors, tmp_path)["gpu"] == "RTX 4090"
    assert observe(sensors, tmp_path)["gpu"]["sm_mhz"] == 2520
    sensors.close()
    assert pynvml.opened == [False]


def test_what_is_missing_is_told_with_what_would_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    sensors = open_sensors(tmp_path)
    assert sensors.missing["NVIDIA GPU (NVML)"].endswith("pip install nvidia-ml-py")
    assert len(sensors.missing) == 3
    assert sensors.joules() == {}
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(driver=False))
    assert "no NVIDIA driver answers" in open_sensors(tmp_path).missing["NVIDIA GPU (NVML)"]
    for count, told in ((2, "2 GPUs here"), (NvmlError("Not Found"), "Not Found")):
        pynvml: Any = fake_nvml(count=count)
        monkeypatch.setitem(sys.modules, "pynvml", pynvml)
        assert told in open_sensors(tmp_path).missing["NVIDIA GPU (NVML)"]
        assert pynvml.opened == [False]


def test_a_jetson_with_all_its_rails_is_one_meter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    sensors = open_sensors(tree(tmp_path, ORIN_NANO))
    assert list(sensors.joules()) == ["VDD_IN"]
    assert "Jetson (INA3221, INA238)" not in sensors.missing
    sensors.close()


# --------------------------------------------------------------------------------------------------------------- system
CPU = "sys/devices/system/cpu"


def test_clocks_temperatures_and_throttling_are_read(tmp_path: Path) -> None:
    before = {
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
        "sys/class/thermal/thermal_zone0/temp": 51500,
        "sys/class/thermal/thermal_zone1/type": "cv0-thermal",
        "sys/class/thermal/thermal_zone1/temp": -256000,  # off
        f"{CPU}/cpufreq/policy0/scaling_cur_freq": 1510400,
        f"{CPU}/cpufreq/policy0/scaling_governor": "schedutil",
        f"{CPU}/cpufreq/policy0/scaling_min_freq": 1510400,
        f"{CPU}/cpufreq/policy0/scaling_max_freq": 1510400,
        "sys/class/devfreq/17000000.gpu/cur_freq": 624750000,
        f"{HWMON}/hwmon2/oc1_event_cnt": 3,
        f"{CPU}/cpu0/thermal_throttle/package_throttle_count": 10,
        f"{CPU}/cpu1/thermal_throttle/package_throttle_count": 10,
        "sys/class/thermal/cooling_device0/type": "gpu-throttle-alert",
        "sys/class/thermal/cooling_device0/cur_state": 0,
        "sys/class/thermal/cooling_device1/type": "pwm-fan",
        "sys/class/thermal/cooling_device1/cur_state": 1,
    }
    cold = system.state(tree(tmp_path, before))
    assert cold["temperatures_c"] == {"cpu-thermal": 51.5}
    assert cold["cpu_mhz"] == {"policy0": 1510.4}
    assert cold["gpu_mhz"] == {"17000000.gpu": 624.75}
    assert system.governors(tmp_path) == ["schedutil"]
    assert system.clocks_pinned(tmp_path) is True
    assert system.throttled(cold, system.state(tmp_path)) == []
    tree(tmp_path, {f"{HWMON}/hwmon2/oc1_event_cnt": 4, "sys/class/thermal/cooling_device0/cur_state": 1})
    tree(tmp_path, {f"{CPU}/cpu1/thermal_throttle/package_throttle_count": 11})
    tree(
        tmp_path, {"sys/class/thermal/cooling_device1/cur_state": 3, f"{CPU}/cpufreq/policy0/scaling_min_freq": 700000}
    )
    told = ["CPU package throttle count rose", "over-current oc1 rose", "gpu-throttle-alert (cooling_device0) was on"]
    assert system.throttled(cold, system.state(tmp_path)) == told
    assert system.clocks_pinned(tmp_path) is False


ALERT = {"sys/class/thermal/cooling_device0/type": "gpu-throttle-alert"}
LEVEL = "sys/class/thermal/cooling_device0/cur_state"


def test_a_machine_that_was_slowed_all_the_time_was_slowed(tmp_path: Path) -> None:
    """The level of a cooling device is no count: it does not rise while the machine stays hot."""
    hot = system.state(tree(tmp_path, ALERT | {LEVEL: 1}))
    assert system.throttled(hot, system.state(tmp_path)) == ["gpu-throttle-alert (cooling_device0) was on"]
    cold = system.state(tree(tmp_path, {LEVEL: 0}))
    assert system.throttled(hot, cold) == ["gpu-throttle-alert (cooling_device0) was on"]
    assert system.throttled(cold, cold) == []


def test_what_was_slowed_in_between_is_seen_while_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0, 2, 0 within one long turn: before and after, all looks well."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    sensors = open_sensors(tree(tmp_path, ALERT | {LEVEL: 0}))
    sensors.joules()
    assert sensors.throttled == set()
    sensors.watch(0.001)
    tree(tmp_path, {LEVEL: 2})
    until = time.monotonic() + 10
    while not sensors.throttled and time.monotonic() < until:
        time.sleep(0.001)
    tree(tmp_path, {LEVEL: 0})
    sensors.close()
    assert sensors.throttled == {"gpu-throttle-alert (cooling_device0) was on"}
    assert not [thread for thread in threading.enumerate() if thread.name == "sensors"]


def test_counts_that_cannot_be_read_are_missing_and_no_zeros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose throttling nobody can see would be STEADY for ever."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    files = ALERT | {LEVEL: "", f"{CPU}/cpu0/thermal_throttle/core_throttle_count": 7}
    sensors = open_sensors(tree(tmp_path, files | {f"{CPU}/cpu1/thermal_throttle/core_throttle_count": ""}))
    for name in ("CPU core throttle count", "gpu-throttle-alert (cooling_device0)"):
        assert sensors.missing[name] == "cannot be read"
    assert (system.state(tmp_path)["throttle"], system.state(tmp_path)["cooling"]) == ({}, {})


def test_a_machine_that_tells_nothing_has_no_values(tmp_path: Path) -> None:
    state = system.state(tmp_path)
    assert {key: value for key, value in state.items() if value and key != "load"} == {}
    assert system.clocks_pinned(tmp_path) is None
    assert describe(Sensors(), tmp_path)["governor"] is None
