"""Training, errors, intervals, verdicts, times: what every system is measured with."""
