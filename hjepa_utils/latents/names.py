"""Names of encoders and framings, without importing any."""

import re

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")  # owner/name or owner/name@revision
PAPER_ENCODER = "facebook/vjepa2-vitl-fpc16-256-ssv2"
FRAMINGS = ("whole", "processor")
