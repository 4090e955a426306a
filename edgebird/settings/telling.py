"""What can be set of whom a station tells over the network: tables of their own, of rows as `model` has them."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgebird.settings import checks
from edgebird.settings.row import Setting, set_by


# fmt: off
@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Figures for Prometheus. listen: HOST:PORT."""

    listen: str = field(metadata=set_by(
        Setting("listen", "Where Prometheus finds the figures of the station.", checks.address(),
                note="HOST:PORT; only this computer can reach 127.0.0.1", example="127.0.0.1:9108",
                missing="settings of metrics, but no address: give listen = in [metrics]", fixed=True)))


# fmt: on
