"""The named channels, the messages on them, threat models, hooks at a party's end, and the count of what crosses."""
