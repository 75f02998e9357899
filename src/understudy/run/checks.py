"""checks.json: inputs and the answers they must give. A bundle tests itself on arrival."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..bundle import Bundle
from ..errors import BundleError
from .answer import Understudy
from .opening import answering
from .summarising import Summariser

if TYPE_CHECKING:
    from .writing import Writer


def check_answers(bundle: Bundle) -> int:
    """Answers checks.json again; how many there were. Raises BundleError for an answer that differs."""
    if "checks.json" not in bundle.files():
        return 0
    opened = answering(bundle)
    try:
        return answer_checks(opened)
    finally:
        if not isinstance(opened, Understudy):
            opened.close()


def answer_checks(opened: Understudy | Summariser | Writer) -> int:
    """Answers the checks of an opened bundle; how many there were. Raises BundleError for an answer that differs."""
    bundle = opened.bundle
    if "checks.json" not in bundle.files():
        return 0
    told = json.loads(bundle.read("checks.json"))
    if not isinstance(opened, Understudy):
        return _answer_texts(opened, told["checks"])
    for check in told["checks"]:
        said = opened.predict(check["text"])
        if said.label != check["label"] or abs(said.confidence - check["confidence"]) > told["tolerance"]:
            raise BundleError(f"{bundle.path}: the check {check['text']!r} should give {check['label']!r} at {check['confidence']:.3f} "
                              f"and gives {said.label!r} at {said.confidence:.3f} here",
                              hint="this machine or this onnxruntime answers differently; run `understudy doctor`")
    return len(told["checks"])


def _answer_texts(opened: Summariser | Writer, checks: list[dict[str, str]]) -> int:
    """Answers the checks of a text bundle again; greedy answers are the same on every machine but for near ties."""
    from .generate.sampling import Sampling

    for check in checks:
        text = check["text"]
        said = (opened.predict(text, sentences=1) if isinstance(opened, Summariser) else opened.predict(text, Sampling(max_tokens=24))).text
        if said != check["answer"]:
            raise BundleError(f"{opened.bundle.path}: the check {text!r} should give {check['answer']!r} and gives {said!r} here",
                              hint="this machine or this llama.cpp computes differently; run `understudy doctor`")
    return len(checks)
