"""What Tenure decides: pure functions over values. No IO, no clock, no randomness, no messages."""
