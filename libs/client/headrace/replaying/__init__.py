"""Running a request again from its trace alone, and telling what came out otherwise."""
