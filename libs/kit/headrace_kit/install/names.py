"""Names of what is ours in a PostgreSQL server of ours."""

DATABASE = "headrace"
SUPERUSER, OWNER, APP = "headrace_admin", "headrace_owner", "headrace_app"
"""Roles: the server's superuser, the owner of the schemas, the one that services use."""
