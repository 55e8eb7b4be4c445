"""The plugin's version, stated here alone."""

VERSION = "0.1.0"
