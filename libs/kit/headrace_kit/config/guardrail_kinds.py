"""What the checks of `guardrails:` look for, by name."""

from __future__ import annotations

from typing import Literal

PiiKind = Literal[
    "email",
    "phone",
    "iban",
    "card",
    "ip",
    "us_ssn",
    "uk_nino",
    "es_nif",
    "fr_nir",
    "it_codice_fiscale",
    "de_tax_id",
    "pl_pesel",
    "br_cpf",
    "in_aadhaar",
    "sg_nric",
]
SecretKind = Literal[
    "headrace_key",
    "aws_access_key",
    "github_token",
    "gitlab_token",
    "slack_token",
    "slack_webhook",
    "openai_key",
    "google_api_key",
    "stripe_key",
    "huggingface_token",
    "npm_token",
    "pypi_token",
    "sendgrid_key",
    "jwt",
    "private_key",
    "url_password",
    "credential",
]
TrickKind = Literal["zero_width", "bidi", "tag", "variation", "control"]
EncodedKind = Literal["base64", "hex", "percent", "rot13", "leet", "spaced", "reversed"]
InstructionKind = Literal[
    "override", "leak", "persona", "conceal", "to_machines", "role_tokens", "tool_syntax", "hidden_text"
]
CodeKind = Literal["sql", "shell", "html"]
LanguageCode = Literal[
    "ar",
    "bg",
    "bn",
    "cs",
    "da",
    "de",
    "el",
    "en",
    "es",
    "fa",
    "fi",
    "fr",
    "he",
    "hi",
    "hu",
    "hy",
    "id",
    "it",
    "ja",
    "ka",
    "ko",
    "nb",
    "nl",
    "pl",
    "pt",
    "ro",
    "ru",
    "sv",
    "ta",
    "te",
    "th",
    "tr",
    "uk",
    "vi",
    "zh",
]
UrlKind = Literal["image", "data_link", "ip_host", "data_uri", "unknown_host"]
