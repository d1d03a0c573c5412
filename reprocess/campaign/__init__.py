"""The campaign file: every setting that decides a number, validated and frozen.

A campaign is one YAML file. Each key is declared once, in a module of this
package; an unknown key, a wrong unit or an impossible value is a
`ConfigurationError` that names the file, the key, what was found and what was
expected. Where and how a campaign runs (cluster, progress, retries) is not
part of it and never enters a fingerprint.
"""

from reprocess.campaign.archive import Archive, S3Access, StoreAccess
from reprocess.campaign.camera import CameraEpoch, Crop, Noise, Site
from reprocess.campaign.campaign import LABEL_PATTERN, SECONDS_PER_DAY, Campaign, parse_years
from reprocess.campaign.cube import Cube, FlagTable
from reprocess.campaign.detectors import DetectorSettings, Difference, Fcn
from reprocess.campaign.lens import (
    EqualAreaLens,
    EquidistantLens,
    Fisheye,
    LensKind,
    PolynomialLens,
    SkymapLens,
)
from reprocess.campaign.load import (
    campaign_from_mapping,
    load_campaign,
    parse_store_access,
    store_access,
)
from reprocess.campaign.section import Settings
from reprocess.campaign.sky import Cells, Image, Process

__all__ = [
    "LABEL_PATTERN",
    "SECONDS_PER_DAY",
    "Archive",
    "CameraEpoch",
    "Campaign",
    "Cells",
    "Crop",
    "Cube",
    "DetectorSettings",
    "Difference",
    "EqualAreaLens",
    "EquidistantLens",
    "Fcn",
    "Fisheye",
    "FlagTable",
    "Image",
    "LensKind",
    "Noise",
    "PolynomialLens",
    "Process",
    "S3Access",
    "Settings",
    "Site",
    "SkymapLens",
    "StoreAccess",
    "campaign_from_mapping",
    "load_campaign",
    "parse_store_access",
    "parse_years",
    "store_access",
]
