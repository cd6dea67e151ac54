"""What taking, keeping and finding spans costs, beside Arize Phoenix with the same spans."""
