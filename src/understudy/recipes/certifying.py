"""What a certificate is a promise about, as one fingerprint: made when it is given, and compared when a bundle is verified."""

from __future__ import annotations

from ..bundle import Manifest
from ..errors import BundleError
from ..proof.certify import certificate_key


def key_of(manifest: Manifest) -> str:
    """Changes with any file of a rung, the labels, a mix, a temperature or a threshold; not with receipt, name or card."""
    folders = {rung.path for rung in manifest.rungs}
    return certificate_key({"files": {path: entry.sha256 for path, entry in manifest.files.items() if path.split("/")[0] in folders},
                            "labels": list(manifest.labels), "reference": "gold labels",
                            "rungs": [[rung.name, rung.mix, rung.temperature, rung.threshold] for rung in manifest.rungs]})


def check_certificate(manifest: Manifest, where: str) -> None:
    """Raises BundleError where the bundle carries a certificate that was given to another model, label set or threshold."""
    if manifest.certificate is not None and manifest.certificate.get("key") != key_of(manifest):
        raise BundleError(f"{where}: the certificate is void: it was given before the models, labels or thresholds of this bundle changed",
                          hint="train with --max-error again, or measure the bundle on fresh rows with `understudy prove`")
