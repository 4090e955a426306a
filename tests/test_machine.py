"""The machine: how much of it edgebird may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgebird.machine import cpu_quota, usable_cores, usable_memory

V2 = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw\n"
V1 = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 {root} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:31 {root} /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
    "34 31 0:32 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


def system(root: Path, groups: str, mounts: str, files: dict[str, str]) -> Path:
    """A /proc and a /sys with such control groups."""
    for name, content in {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.mark.parametrize(
    ("path", "files", "quota"),
    [
        ("/", {"cpu.max": "150000 100000"}, 1.5),  # in a container
        ("/", {"cpu.max": "max 100000"}, None),
        ("/system.slice/edgebird.service", {"system.slice/edgebird.service/cpu.max": "20000 100000"}, 0.2),
        ("/a/b", {"a/cpu.max": "100000 100000", "a/b/cpu.max": "400000 100000"}, 1.0),  # the least of those above
        ("/a/b", {"a/b/cpu.max": "max 100000"}, None),
        ("/a", {"a/cpu.max": "nonsense"}, None),
        ("/a", {}, None),
    ],
)
def test_a_quota_of_cgroup_v2_counts(tmp_path: Path, path: str, files: dict[str, str], quota: float | None) -> None:
    placed = {f"sys/fs/cgroup/{name}": content + "\n" for name, content in files.items()}
    assert cpu_quota(system(tmp_path, f"0::{path}\n", V2, placed)) == quota


@pytest.mark.parametrize(
    ("path", "root", "folder"),
    [("/", "/", ""), ("/docker/abc", "/docker/abc", ""), ("/docker/abc", "/", "docker/abc/"), ("/docker/abc", "/", "")],
)
@pytest.mark.parametrize(("value", "quota"), [("250000", 2.5), ("-1", None)])
def test_a_quota_of_cgroup_v1_counts(
    tmp_path: Path, path: str, root: str, folder: str, value: str, quota: float | None
) -> None:
    place = f"sys/fs/cgroup/cpu,cpuacct/{folder}cpu.cfs_"
    groups = f"4:cpuset:{path}\n3:cpu,cpuacct:{path}\n0::/\n"
    files = {f"{place}quota_us": f"{value}\n", f"{place}period_us": "100000\n"}
    assert cpu_quota(system(tmp_path, groups, V1.format(root=root), files)) == quota


def test_a_system_without_control_groups_has_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None


@pytest.mark.parametrize(("quota", "cores"), [(0.2, 1), (1.0, 1), (1.5, 2), (1000.0, None), (None, None)])
def test_threads_are_no_more_than_the_quota_keeps_busy(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, cores: int | None
) -> None:
    """`docker run --cpus=1` on 64 cores: 64 threads would be stopped for most of the time, all at once."""
    monkeypatch.setattr("edgebird.machine.cpu_quota", lambda: quota)
    affinity = len(os.sched_getaffinity(0))
    assert usable_cores() == (affinity if cores is None else min(cores, affinity))


@pytest.mark.parametrize(
    ("groups", "mounts", "file", "text", "limit"),
    [
        ("0::/a/b\n", V2, "sys/fs/cgroup/a/memory.max", "268435456\n", 268435456),
        ("0::/a/b\n", V2, "sys/fs/cgroup/a/b/memory.max", "max\n", None),
        ("4:memory:/a\n", V1.format(root="/"), "sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1048576\n", 1048576),
        ("4:memory:/\n", V1.format(root="/"), "sys/fs/cgroup/memory/memory.limit_in_bytes", f"{2**63 - 4096}\n", None),
        ("0::/\n", V2, "sys/fs/cgroup/memory.max", "nonsense", None),
    ],
)
def test_the_memory_of_a_container_is_what_there_is(
    tmp_path: Path, groups: str, mounts: str, file: str, text: str, limit: int | None
) -> None:
    """`docker run --memory 256m` on a large machine: what is read ahead must fit the container."""
    machine = usable_memory(tmp_path / "nothing here")
    assert machine > 2**20
    assert usable_memory(system(tmp_path, groups, mounts, {file: text})) == (limit or machine)
