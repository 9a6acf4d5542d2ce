"""Identifiers: distinct types, so that none is taken for another.

All are opaque, random and free of personal data, save `MunicipalityId`, `ClientId`,
`PartnerId`, `RegimeId`, `Role` and `RuleId`: an administrator or rule pack names those.
"""

from typing import NewType

MessageId = NewType("MessageId", str)  # ours, random; never the Message-ID header
JobId = NewType("JobId", str)
RecordId = NewType("RecordId", str)
MunicipalityId = NewType("MunicipalityId", str)
ClientId = NewType("ClientId", str)
PartnerId = NewType("PartnerId", str)
RegimeId = NewType("RegimeId", str)
Role = NewType("Role", str)
RuleId = NewType("RuleId", str)
Digest = NewType("Digest", str)  # lower-case hexadecimal SHA-256
Code = NewType("Code", str)  # K201 ... K9xx, see docs/codes/
