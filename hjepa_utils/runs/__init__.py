"""A notebook's run: its files, hardware, trainings that go on where they stopped."""
