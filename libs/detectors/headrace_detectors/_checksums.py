"""Check digits: what tells a number of one sort from a number."""

from __future__ import annotations

_IBAN_LENGTHS = {
    country: int(length)
    for length, countries in {
        "15": "NO",
        "16": "BE",
        "18": "DK FK FI FO GL NL SD",
        "19": "MK SI",
        "20": "AT BA EE KZ LT LU MN XK",
        "21": "CH HR LI LV",
        "22": "BG BH CR DE GB GE IE ME RS VA",
        "23": "AE GI IL IQ OM SO TL",
        "24": "AD CZ ES MD PK RO SA SE SK TN VG",
        "25": "LY PT ST",
        "26": "IS TR",
        "27": "BI DJ FR GR IT MC MR SM",
        "28": "AL AZ BY CY DO GT HU LB NI PL SV",
        "29": "BR EG PS QA UA",
        "30": "JO KW MU YE",
        "31": "MT SC",
        "32": "LC",
        "33": "RU",
    }.items()
    for country in countries.split()
}


_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def luhn_lengths(digits: str) -> list[int]:
    """The lengths at which the beginning of `digits` ends with the right digit by Luhn's rule (cards)."""
    lengths = []
    # Every second digit counts double, from the last but one backwards: which ones, the length decides.
    odd_doubled = even_doubled = 0
    for index, char in enumerate(digits):
        digit = int(char)
        odd_doubled += _DOUBLED[digit] if index % 2 else digit
        even_doubled += digit if index % 2 else _DOUBLED[digit]
        total = even_doubled if index % 2 else odd_doubled
        if total % 10 == 0:
            lengths.append(index + 1)
    return lengths


def iban_ok(text: str) -> int:
    """Length of the IBAN that `text` begins with, spaces and dashes included; 0 if there is none."""
    wanted = _IBAN_LENGTHS.get(text[:2].upper())
    if wanted is None:
        return 0
    compact: list[str] = []
    for index, char in enumerate(text):
        if char.isalnum():
            compact.append(char.upper())
        if len(compact) == wanted:
            if text[index + 1 : index + 2].isalnum():
                return 0
            number = "".join(str(int(symbol, 36)) for symbol in compact[4:] + compact[:4])
            return index + 1 if int(number) % 97 == 1 else 0
    return 0


# Row by row: the dihedral group's products, and where a digit goes by its place.
_VERHOEFF_TIMES = "0123456789123406789523401789563401289567401239567859876043216598710432765982104387659321049876543210"
_VERHOEFF_TURNS = "01234567891576283094580379614289160435279453126870428657390127938064157046913258"


def verhoeff_ok(digits: str) -> bool:
    """Whether the last digit is right by Verhoeff's rule (Aadhaar)."""
    check = 0
    for position, digit in enumerate(reversed(digits)):
        turned = int(_VERHOEFF_TURNS[position % 8 * 10 + int(digit)])
        check = int(_VERHOEFF_TIMES[check * 10 + turned])
    return check == 0


def mod_11_10_ok(digits: str) -> bool:
    """Whether the last digit is right by ISO 7064 MOD 11,10 (German tax ids)."""
    product = 10
    for digit in digits[:-1]:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10 == int(digits[-1])


def weighted(digits: str, weights: tuple[int, ...]) -> int:
    """Sum of the digits, each times its weight."""
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))
