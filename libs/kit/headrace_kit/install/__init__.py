"""What an installation on Kubernetes needs once: secrets, and roles in its database. Run by the chart's jobs."""
