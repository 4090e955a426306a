"""What published models are, as far as their files do not say it. A further one is an entry here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgebird.card import GEO, PLACE, SOUND, Scaling

# Classes of BirdNET v2.4 that are no species, by their scientific name there.
_NOT_SPECIES = {
    "Dog": "dog",
    "Engine": "engine",
    "Environmental": "environment",
    "Fireworks": "fireworks",
    "Gun": "gun",
    "Human non-vocal": "human",
    "Human vocal": "human",
    "Human whistle": "human",
    "Noise": "noise",
    "Power tools": "engine",
    "Siren": "siren",
}
# Sound events of FSD50K in Perch v2's list of classes, by what matters to a station: people, dogs, machines.
_SOUND_EVENTS = {
    **dict.fromkeys(
        """Speech Male_speech_and_man_speaking Female_speech_and_woman_speaking Child_speech_and_kid_speaking
        Conversation Human_voice Human_group_actions Laughter Shout Screaming Singing Male_singing Female_singing
        Whispering Yell
        Crying_and_sobbing Chatter Crowd Cheering Applause Clapping Cough Sneeze Breathing Respiratory_sounds
        Walk_and_footsteps Run Finger_snapping Hands""".split(),
        "human",
    ),
    **dict.fromkeys("Dog Bark Growling".split(), "dog"),
    **dict.fromkeys("Siren Alarm".split(), "siren"),
    **dict.fromkeys(
        """Engine Engine_starting Idling Accelerating_and_revving_and_vroom Vehicle Motor_vehicle_(road) Car
        Car_passing_by Race_car_and_auto_racing Truck Bus Motorcycle Train Rail_transport Aircraft
        Fixed-wing_aircraft_and_airplane Boat_and_Water_vehicle Power_tool Drill Sawing Subway_and_metro_and_underground
        Traffic_noise_and_roadway_noise""".split(),
        "engine",
    ),
    **dict.fromkeys("Gunshot_and_gunfire".split(), "gun"),
    **dict.fromkeys("Fireworks".split(), "fireworks"),
}


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """A family of published models.

    name: as `--as` takes it. kind: SOUND, or GEO for a model of places. classes: how many it is known by, None for any.
    sample_rate: Hz; window_samples at that rate; None where the graph, or its user, says it. scores: names that its
    output may have; (): whatever is not among the further ones. further: what else is kept -> names that it may have,
    also of tensors within a .tflite file. activation, sensitivity, scaling: see `Card`. not_birds: scientific name in
    the list of labels -> what it is. licence, source: of the weights as they are usually published. labels: what file
    has the classes, for an error.
    """

    name: str
    kind: str = SOUND
    classes: int | None = None
    sample_rate: int | None = None
    window_samples: int | None = None
    scores: tuple[str, ...] = ()
    further: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    activation: str = "none"
    sensitivity: float | None = None
    scaling: Scaling | None = None
    not_birds: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""
    source: str = ""
    labels: str = "one name a line"


FAMILIES: dict[str, ModelFamily] = {
    family.name: family
    for family in (
        ModelFamily(
            "birdnet-v2.4",
            classes=6522,
            sample_rate=48_000,
            window_samples=144_000,
            further={"embeddings": ("model/GLOBAL_AVG_POOL/Mean", "model/GLOBAL_AVG_POOL/Mean_reduced_0")},
            activation="sigmoid",
            sensitivity=1.0,
            not_birds=_NOT_SPECIES,
            licence="CC-BY-NC-SA-4.0",
            source="K. Lisa Yang Center for Conservation Bioacoustics, Cornell Lab of Ornithology: BirdNET-Analyzer",
            labels="BirdNET_GLOBAL_6K_V2.4_Labels.txt",
        ),
        ModelFamily(
            "birdnet-v3",
            sample_rate=32_000,
            window_samples=160_000,
            further={"embeddings": ("embeddings",)},
            not_birds=_NOT_SPECIES,
            source="BirdNET+ V3.0, developer preview; its licence differs by copy: see the file that came with it",
            labels="BirdNET+_V3.0-preview_Labels.csv",
        ),
        ModelFamily(
            "perch-v2",
            sample_rate=32_000,
            window_samples=160_000,
            scores=("label",),
            further={"embeddings": ("embedding",)},
            activation="softmax",
            scaling=Scaling(remove_mean=True, peak=0.25),
            not_birds=_SOUND_EVENTS,
            licence="Apache-2.0",
            source="Google DeepMind: Perch 2.0",
            labels="assets/labels.csv",
        ),
        ModelFamily(
            "geo",
            kind=GEO,
            sample_rate=0,
            window_samples=len(PLACE),
            not_birds=_NOT_SPECIES,
            source="BirdNET's geographic models; licences differ by copy: see the file that came with it",
            labels="the classifier's list",
        ),
    )
}
