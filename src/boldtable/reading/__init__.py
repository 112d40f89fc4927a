"""Read what users hand in: bounded, checked, and with one line that names the file where it cannot be read."""
