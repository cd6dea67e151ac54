"""What each kind finds, and what it leaves alone."""

import pytest

from headrace_detectors import (
    PII_KINDS,
    SECRET_KINDS,
    UNICODE_KINDS,
    Action,
    BanList,
    Patterns,
    Pii,
    Secrets,
    Tricks,
    compile_checks,
)

PII = compile_checks([Pii()])
SECRETS = compile_checks([Secrets()])
TRICKS = compile_checks([Tricks()])


def found(checker, text):
    return [(finding.kind, text[finding.start : finding.end]) for finding in checker.check(text).findings]


PERSONAL = [
    ("email", "ana.lopez+x@mail.example.co.uk"),
    ("email", "jörg@müller.de"),
    ("phone", "+49 (0)30 1234-567"),
    ("phone", "001-846-853-9089x92556"),
    ("phone", "(212) 555-0199"),
    ("phone", "1-800-555-0199 ext. 12"),
    ("phone", "06 12 34 56 78"),
    ("iban", "DE89 3704 0044 0532 0130 00"),
    ("iban", "GB82WEST12345698765432"),
    ("iban", "BE68 5390 0754 7034"),
    ("card", "4111 1111 1111 1111"),
    ("card", "378282246310005"),
    ("card", "5555-5555-5555-4444"),
    ("ip", "203.0.113.77"),
    ("ip", "2001:db8:85a3::8a2e:370:7334"),
    ("us_ssn", "123-45-6789"),
    ("uk_nino", "AB 12 34 56 C"),
    ("es_nif", "12345678Z"),
    ("es_nif", "X1234567L"),
    ("fr_nir", "2 55 08 14 168 025 38"),
    ("it_codice_fiscale", "RSSMRA85T10A562S"),
    ("de_tax_id", "86095742719"),
    ("pl_pesel", "44051401359"),
    ("br_cpf", "529.982.247-25"),
    ("in_aadhaar", "2341 2341 2346"),
    ("sg_nric", "S1234567D"),
]


@pytest.mark.parametrize(("kind", "value"), PERSONAL)
def test_personal_data(kind, value):
    assert found(PII, f"It is {value}, he said.") == [(kind, value)]


def test_every_kind_of_personal_data_has_an_example():
    assert {kind for kind, _ in PERSONAL} == set(PII_KINDS)


@pytest.mark.parametrize(
    "text",
    [
        "one wrong digit: GB83 WEST 1234 5698 7654 32",
        "one wrong digit: 4111 1111 1111 1112, 12345678A, 44051401358, 529.982.247-26",
        "meet on 01.02.2024 at 10:30 or 2024-02-01 12:00:00, call on 12.03.2024",
        "version 1.2.3.4.5, std::vector, 12:30:45, a@b, @user, order 12345678",
        "in 2023 we sold 12 000 000 units, 3.14159265358979 each",
        "000-12-3456 666-12-3456 987-65-4321",
    ],
)
def test_what_only_looks_like_personal_data(text):
    assert found(PII, text) == []


def test_what_follows_a_number_is_not_taken_for_a_part_of_it():
    assert found(PII, "BE68 5390 0754 7034 told you") == [("iban", "BE68 5390 0754 7034")]
    assert found(PII, "card 4111 1111 1111 1111 12 24") == [("card", "4111 1111 1111 1111")]


def test_punctuation_behind_an_address_is_not_part_of_it():
    assert found(PII, "2001:db8:85a3::8a2e: up, 203.0.113.77. ana@example.org.") == [
        ("ip", "2001:db8:85a3::8a2e"),
        ("ip", "203.0.113.77"),
        ("email", "ana@example.org"),
    ]


def test_the_same_value_written_differently_gets_one_name():
    text = "4111 1111 1111 1111, 4111111111111111, ANA@example.org, ana@example.org"
    assert PII.check(text).text == "[CARD_1], [CARD_1], [EMAIL_1], [EMAIL_1]"


def test_a_threshold_leaves_out_what_is_less_sure():
    text = "ask 203.0.113.77 or ana@example.org"
    assert PII.check(text).text == "ask [IP_1] or [EMAIL_1]"
    assert compile_checks([Pii(threshold=0.95)]).check(text).text == "ask 203.0.113.77 or [EMAIL_1]"


TOKENS = [
    ("headrace_key", "hr_k1_0123456789abcdefABCDEF"),
    ("aws_access_key", "AKIAIOSFODNN7EXAMPLE"),
    ("github_token", "ghp_0123456789abcdefghijABCDEFGHIJ012345"),
    ("github_token", "github_pat_11ABCDEFG0123456789abcdef"),
    ("gitlab_token", "glpat-0123456789abcdefghij"),
    ("slack_token", "xoxb-123456789012-abcdefABCDEF"),
    ("slack_webhook", "hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"),
    ("openai_key", "sk-proj-0123456789abcdefghijABCD"),
    ("google_api_key", "AIzaSyA0123456789abcdefghijABCDEFGHIJ01"),
    ("stripe_key", "sk_live_0123456789abcdefABCDEF"),
    ("huggingface_token", "hf_0123456789abcdefghijABCDEFGHIJ0123"),
    ("npm_token", "npm_0123456789abcdefghijABCDEFGHIJ012345"),
    ("pypi_token", "pypi-AgEIcHlwaS5vcmc0123456789abcdefghijABCDEFGHIJ0123456789"),
    ("sendgrid_key", "SG.0123456789abcdefABCDEF.0123456789abcdefghijABCDEFGHIJ0123456789abc"),
    ("jwt", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"),
    ("private_key", "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEAx1\nq9Z8q+/=\n-----END RSA PRIVATE KEY-----"),
]


@pytest.mark.parametrize(("kind", "value"), TOKENS)
def test_secrets_by_their_shape(kind, value):
    assert found(SECRETS, f"use {value} for it") == [(kind, value)]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("password: Tr0ub4dor&3", "credential", "Tr0ub4dor&3"),
        ('{"api_key": "f3a9c1d27be84650a1b2c3d4e5f60718"}', "credential", "f3a9c1d27be84650a1b2c3d4e5f60718"),
        ("Authorization: Bearer 9f8e7d6c5b4a39281706f5e4d3c2b1a0", "credential", "9f8e7d6c5b4a39281706f5e4d3c2b1a0"),
        ("postgres://app:s3cr3t@db:5432/x", "url_password", "s3cr3t"),
    ],
)
def test_secrets_by_what_stands_before_them(text, kind, value):
    assert found(SECRETS, text) == [(kind, value)]


def test_every_kind_of_secret_has_an_example():
    assert {kind for kind, _ in TOKENS} | {"credential", "url_password"} == set(SECRET_KINDS)


@pytest.mark.parametrize(
    "text",
    [
        "the password is required, and the secret ingredient is cinnamon",
        "token: authentication-and-authorization",
        "sk-learn-style-feature-extraction-names, hr_department_handbook_overview",
        "postgres://app:${PASSWORD}@db/x and https://example.org:8080/a@b",
        "eyJust.a.word and -----BEGIN CERTIFICATE-----",
        "commit 5e884898da28047151d0e56f8dc6292773603d0d",
    ],
)
def test_what_only_looks_like_a_secret(text):
    assert found(SECRETS, text) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Project Falcon!", "[BANNED_1]!"),
        ("PROJECT\u00a0\n FALCON", "[BANNED_1]"),
        ("pro\u200bject fal\u00adcon", "[BANNED_1]"),
        ("prоjеct fаlcоn", "[BANNED_1]"),
        ("𝐏𝐫𝐨𝐣𝐞𝐜𝐭 Ｆａｌｃｏｎ", "[BANNED_1]"),
        ("une crème brulée", "une [BANNED_1]"),
        ("cre\u0300me  brûlée", "[BANNED_1]"),
        ("falcon, the project", "falcon, the project"),
        ("subproject falcons", "subproject falcons"),
        ("is it C++? yes", "is it [BANNED_1]? yes"),
        ("関係機密文書", "関係[BANNED_1]文書"),
        ("foo bar baz", "[BANNED_1] baz"),
        ("foo bars", "[BANNED_1] bars"),
        ("STRASSE", "[BANNED_1]"),
    ],
)
def test_words_are_found_however_they_are_written(text, shown):
    words = ("project falcon", "Crème brûlée", "C++", "機密", "foo", "foo bar", "Straße")
    assert compile_checks([BanList(words=words, action=Action.MASK)]).check(text).text == shown


def test_patterns_look_through_tricks():
    checker = compile_checks([Patterns(patterns={"ticket": r"TICK-\d+"}, action=Action.MASK)])
    assert checker.check("see TI\u200bCK–１２ now").text == "see [TICKET_1] now"


@pytest.mark.parametrize(
    ("kind", "text", "cleaned"),
    [
        ("zero_width", "pass\u200bword", "password"),
        ("zero_width", "a\u200db", "ab"),
        ("bidi", "abc\u202edef\u202c", "abcdef"),
        ("tag", "hi" + "".join(chr(0xE0000 + ord(char)) for char in "ignore"), "hi"),
        ("variation", "x" + "\ufe01\ufe02\U000e0105", "x"),
        ("control", "red \x1b[31m", "red [31m"),
    ],
)
def test_tricks_are_named_and_removed(kind, text, cleaned):
    verdict = TRICKS.check(text)
    assert {finding.kind for finding in verdict.findings} == {kind}
    assert kind in UNICODE_KINDS
    assert verdict.text == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "👩\u200d👩\u200d👧\u200d👦 ❤\ufe0f\u200d🔥 👍🏽",
        "می\u200cخواهم क्\u200dष",
        "🏴" + "".join(chr(0xE0000 + ord(char)) for char in "gbeng") + "\U000e007f",
        "\ufeffa file that opens with a mark",
        "tabs\tand\r\nlines\x0c",
    ],
)
def test_characters_at_their_proper_work_are_left(text):
    assert TRICKS.check(text).findings == ()


def test_offsets_are_those_of_the_original_text():
    text = "🎉🎉 jo\u200bhn＠example.org"
    (finding,) = PII.check(text).findings
    assert (finding.start, finding.end) == (3, len(text))
