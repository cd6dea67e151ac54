"""What fulfils the ports: other services and stores."""
