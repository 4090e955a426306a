"""Run by a Python with Home Assistant: what its own code makes of what a broker has. See test_home_assistant.py.

    PYTHON tests/home_assistant_reader.py PORT FOLDER

sets up the integration MQTT of that Home Assistant with a broker on this machine, prints a line `ready`, and at each
line on stdin what there is then: states by entity, devices by name, and the events of entities of the kind `event`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

ENTRY = {
    **dict.fromkeys(("created_at", "modified_at"), "2025-01-01T00:00:00+00:00"),
    **dict.fromkeys(("disabled_by", "unique_id")),
    **dict.fromkeys(("pref_disable_new_entities", "pref_disable_polling"), False),
    "discovery_keys": {},
    "options": {},
    "subentries": [],
    "source": "user",
    "version": 1,
    "minor_version": 2,
    "domain": "mqtt",
    "title": "mqtt",
    "entry_id": "01J00000000000000000000000",
}


async def started(folder: Path, port: int) -> Any:
    from homeassistant import auth, bootstrap, config_entries, loader
    from homeassistant.core import HomeAssistant
    from homeassistant.setup import async_setup_component

    (folder / ".storage").mkdir(parents=True)
    (folder / "configuration.yaml").write_text("homeassistant:\n")
    entry = {**ENTRY, "data": {"broker": "127.0.0.1", "port": port, "discovery": True}}
    stored = {"version": 1, "minor_version": 5, "key": "core.config_entries", "data": {"entries": [entry]}}
    (folder / ".storage" / "core.config_entries").write_text(json.dumps(stored))
    home = HomeAssistant(str(folder))
    loader.async_setup(home)
    home.config.skip_pip = True
    home.config_entries = config_entries.ConfigEntries(home, {})
    await bootstrap.async_load_base_functionality(home)
    home.auth = await auth.auth_manager_from_config(home, [], [])
    await home.async_start()
    assert await async_setup_component(home, "mqtt", {})
    return home


async def main(port: int, folder: Path) -> None:
    from homeassistant.const import __version__
    from homeassistant.helpers import device_registry

    home = await started(folder, port)
    events: list[Any] = []

    def changed(event: Any) -> None:
        state = event.data["new_state"]
        if state is not None and state.domain == "event" and "event_type" in state.attributes:
            events.append([state.entity_id, state.attributes.get("common_name")])

    home.bus.async_listen("state_changed", changed)
    print(json.dumps({"ready": __version__}), flush=True)
    while await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
        await home.async_block_till_done()
        states = {one.entity_id: one.state for one in home.states.async_all()}
        devices = sorted(one.name for one in device_registry.async_get(home).devices.values())
        print(json.dumps({"states": states, "devices": devices, "events": events}), flush=True)
    await home.async_stop(force=True)


asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
