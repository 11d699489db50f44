"""The commands, a file each; nothing heavy is imported before a command needs it."""
