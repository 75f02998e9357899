"""The proof: scores with intervals, thresholds, the certificate, speed, the receipt and the gate.

    probabilities on rows nobody tuned on ──► receipt ──► table, JSON, page ──► gate
    out-of-fold confidences               ──► thresholds ──► certify (once, on rows kept back)
    anything that answers                 ──► bench

It is handed probabilities or callables and knows no runtime.
"""
