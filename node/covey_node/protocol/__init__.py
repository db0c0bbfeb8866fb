"""The node's sans-IO protocol cores: contents, frames, contact and outbox rules."""
