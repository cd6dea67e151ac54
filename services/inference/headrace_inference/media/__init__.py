"""Images and audio in messages: checked, and images fetched from where they say, so that engines fetch nothing."""
