"""From a checked body to the fields of `generate`, the rounds of a plan, and the messages of a chat."""
