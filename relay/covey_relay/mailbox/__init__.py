"""Mailboxes: what a relay decides and stores for those who are away. Spec: docs/spec/mailbox.md."""
