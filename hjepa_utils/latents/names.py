"""Names of encoders and framings, without importing any."""

import re

# owner/name or owner/name@revision, as the hub allows them: ../x is a path, not an id
_NAME = r"\w(?:[\w.-]*\w)?"
HUB_ID = re.compile(rf"(?![^@]*(?:--|\.\.)){_NAME}/{_NAME}(?:@[\w./-]+)?", re.ASCII)
PAPER_ENCODER = "facebook/vjepa2-vitl-fpc16-256-ssv2"
FRAMINGS = ("whole", "processor")
