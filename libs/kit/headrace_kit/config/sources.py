"""`collections.<name>.sources:` where a collection's documents come from by themselves."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from headrace_kit.config.base import Duration, SecretRef, Section

Principal = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Address = Annotated[str, StringConstraints(pattern=r"^https?://[^/\s]+(/\S*)?$", max_length=2048)]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class SourceAcl(Section):
    """Who may read what a source brings."""

    users: tuple[Principal, ...] = Field((), max_length=1000, description="People.")
    groups: tuple[Principal, ...] = Field((), max_length=1000, description="Groups.")
    public: bool = Field(False, description="Every caller of the collection's tenants.")


class _Source(Section):
    """What all kinds have."""

    every: Duration | None = Field(
        None, ge=10, le=30 * 86_400, description="How often it is synchronised. Default: only when asked."
    )
    acl: SourceAcl | None = Field(
        None, description="Who may read its documents. Needed where the collection's `acl` is `required`."
    )
    metadata: dict[str, str | int | float | bool] = Field(
        default_factory=dict, max_length=64, description="Metadata of each of its documents, to filter by."
    )


class _Files(_Source):
    """Sources that hold files."""

    include: tuple[Pattern, ...] = Field(
        ("*",),
        min_length=1,
        max_length=64,
        description="Which files, by their path within the source: `*` stands for anything, folders too.",
    )


class DocumentFolder(_Files):
    """A folder that the service sees, for example a mounted volume. Hidden files and symbolic links are left out."""

    kind: Literal["folder"] = "folder"
    path: str = Field(min_length=1, description="The folder; relative to the config file, or absolute.")


class DocumentBucket(_Files):
    """A bucket of S3, or of what speaks like it: MinIO, Ceph, R2."""

    kind: Literal["s3"] = "s3"
    bucket: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] = Field(
        description="The bucket."
    )
    prefix: str = Field("", max_length=1024, description="Only objects below it, for example `policies/`.")
    endpoint: Address | None = Field(None, description="Where it is, if not at AWS.")
    region: str = Field("us-east-1", max_length=64, description="Its region.")
    access_key: SecretRef | None = Field(
        None, description="Access key. Default: what the environment gives, for example a pod's role."
    )
    secret_key: SecretRef | None = Field(None, description="Secret key, with `access_key`.")

    @model_validator(mode="after")
    def _keys(self) -> DocumentBucket:
        if (self.access_key is None) != (self.secret_key is None):
            raise ValueError("access_key and secret_key belong together: give both or neither")
        return self


class DocumentSite(_Source):
    """Pages of a website. Addresses that are not public are not reached unless `allow_networks` lists them."""

    kind: Literal["web"] = "web"
    pages: tuple[Address, ...] = Field((), max_length=10_000, description="Pages and files by address.")
    sitemap: Address | None = Field(
        None, description="A sitemap, or an index of them: all of its pages that are on the same host."
    )
    most_pages: int = Field(1000, ge=1, le=100_000, description="Pages, at most. More are an error, not a cut.")
    timeout: Duration = Field(30, gt=0, le=300, description="Longest time for one page.")
    allow_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        (), max_length=64, description="Networks that may be reached although they are not public, on any port."
    )

    @model_validator(mode="after")
    def _something(self) -> DocumentSite:
        if not self.pages and self.sitemap is None:
            raise ValueError("name pages, or a sitemap")
        return self


class DocumentQuery(_Source):
    """Rows of a query: `id` and `text`, perhaps `title`; every other column is metadata."""

    kind: Literal["postgres"] = "postgres"
    dsn: SecretRef = Field(description="Secret with the address: `postgresql://user:password@host/database`.")
    query: str = Field(
        min_length=1,
        max_length=65_536,
        description="One SELECT. It runs in a transaction that can only read.",
    )
    timeout: Duration = Field(300, gt=0, le=3600, description="Longest time for the query, with reading its rows.")


DocumentSource = Annotated[DocumentFolder | DocumentBucket | DocumentSite | DocumentQuery, Field(discriminator="kind")]
"""A source of documents, by `kind`."""
