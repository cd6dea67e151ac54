"""National ids: a format, and where the id has them, its check digits."""

from __future__ import annotations

from collections.abc import Callable

from headrace_detectors._checksums import mod_11_10_ok, verhoeff_ok, weighted
from headrace_detectors._pattern import Accept, Accepted, Candidate, Pattern


def _compact(value: str) -> str:
    return "".join(char for char in value if char.isalnum()).upper()


def _checked(score: float, ok: Callable[[str], bool]) -> Accept:
    def accept(candidate: Candidate) -> Accepted | None:
        return Accepted(score, len(candidate.value)) if ok(_compact(candidate.value)) else None

    return accept


def _us_ssn(number: str) -> bool:
    area, group, serial = number[:3], number[3:5], number[5:]
    return area not in {"000", "666"} and area < "900" and group != "00" and serial != "0000"


def _uk_nino(number: str) -> bool:
    return number[:2] not in {"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"}


def _es_nif(number: str) -> bool:
    plain = number[:-1].replace("X", "0").replace("Y", "1").replace("Z", "2")
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(plain) % 23] == number[-1]


def _fr_nir(number: str) -> bool:
    plain = number[:13].replace("2A", "19").replace("2B", "18")
    return 97 - int(plain) % 97 == int(number[13:])


_IT_DIGITS = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21)
_IT_ODD = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        # The values of the digits, of A to J (the same again), and of K to Z.
        (*_IT_DIGITS, *_IT_DIGITS, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23),
        strict=True,
    )
)


def _it_codice_fiscale(number: str) -> bool:
    total = sum(_IT_ODD[char] for char in number[:15:2])
    total += sum(int(char) if char.isdigit() else ord(char) - ord("A") for char in number[1:15:2])
    return chr(ord("A") + total % 26) == number[15]


def _de_tax_id(number: str) -> bool:
    # Of the first ten digits one comes twice or three times.
    counts = sorted((number[:10].count(digit) for digit in set(number[:10])), reverse=True)
    return counts[0] in {2, 3} and counts[1] == 1 and mod_11_10_ok(number)


def _pl_pesel(number: str) -> bool:
    month, day = int(number[2:4]) % 20, int(number[4:6])
    total = weighted(number, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1))
    return 1 <= month <= 12 and 1 <= day <= 31 and total % 10 == 0


def _br_cpf(number: str) -> bool:
    if len(set(number)) == 1:
        return False
    for length in (9, 10):
        rest = weighted(number[:length], tuple(range(length + 1, 1, -1))) * 10 % 11 % 10
        if rest != int(number[length]):
            return False
    return True


def _sg_nric(number: str) -> bool:
    total = weighted(number[1:8], (2, 7, 6, 5, 4, 3, 2)) + {"T": 4, "G": 4, "M": 3}.get(number[0], 0)
    letters = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "F": "XWUTRQPNMLK", "G": "XWUTRQPNMLK", "M": "XWUTRQPNJLK"}
    return letters[number[0]][total % 11] == number[8]


NATIONAL = (
    Pattern("us_ssn", r"\b\d{3}(?:-\d{2}-|\s\d{2}\s)\d{4}\b", accept=_checked(0.85, _us_ssn), identity=_compact),
    Pattern(
        "uk_nino",
        r"(?i)\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b",
        accept=_checked(0.8, _uk_nino),
        identity=_compact,
    ),
    Pattern("es_nif", r"(?i)\b(?:\d{8}|[XYZ]-?\d{7})-?[A-Z]\b", accept=_checked(0.9, _es_nif), identity=_compact),
    Pattern(
        "fr_nir",
        r"(?i)\b[12] ?\d{2} ?\d{2} ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}\b",
        accept=_checked(0.95, _fr_nir),
        identity=_compact,
    ),
    Pattern(
        "it_codice_fiscale",
        r"(?i)\b[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]\b",
        accept=_checked(1.0, _it_codice_fiscale),
        identity=_compact,
    ),
    Pattern("de_tax_id", r"\b[1-9]\d ?\d{3} ?\d{3} ?\d{3}\b", accept=_checked(0.7, _de_tax_id), identity=_compact),
    Pattern("pl_pesel", r"\b\d{11}\b", accept=_checked(0.7, _pl_pesel), identity=_compact),
    Pattern("br_cpf", r"\b\d{3}\.?\d{3}\.?\d{3}-?\d{2}\b", accept=_checked(0.85, _br_cpf), identity=_compact),
    Pattern(
        "in_aadhaar",
        r"\b[2-9]\d{3}[ -]\d{4}[ -]\d{4}\b",
        accept=_checked(0.85, verhoeff_ok),
        identity=_compact,
    ),
    Pattern("sg_nric", r"(?i)\b[STFGM]\d{7}[A-Z]\b", accept=_checked(0.9, _sg_nric), identity=_compact),
)
