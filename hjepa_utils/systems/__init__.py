"""One room per system: models and losses."""
